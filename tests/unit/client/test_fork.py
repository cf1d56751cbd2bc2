"""A forked child gets an error, not a crash."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from arraymill import AsyncClient, Client, _fork
from arraymill._background import run
from arraymill._caller import Caller
from arraymill._fork import check_process
from arraymill_proto.errors import ArraymillError


async def _nothing() -> None:
    pass


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look like a child of the process that used gRPC first."""
    check_process()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)


@pytest.mark.usefixtures("forked")
def test_a_child_is_refused() -> None:
    for _ in range(2):
        with pytest.raises(ArraymillError, match="'spawn' or 'forkserver'"):
            check_process()
    with pytest.raises(ArraymillError, match="was forked"):
        run(_nothing)


FORKING = """
import os, sys
import arraymill as am

with am.local(workers=1, arena="48MiB") as mill, am.Client(mill.address) as other:
    assert mill.sum([1.0, 2.0]) == other.sum([1.0, 2.0]) == 3
    child = os.fork()
    if not child:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert mill.sum([1.0, 2.0]) == other.sum([1.0, 2.0]) == 3
    with am.Client(mill.address) as third:
        assert third.sum([1.0, 2.0]) == 3
print("well")
"""


def test_a_child_leaves_the_block_of_its_parent_and_touches_nothing() -> None:
    """Neither a traceback, nor the end of its parent's clients or server, nor of the folder of its socket."""
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")


@pytest.mark.usefixtures("forked")
async def test_closing_in_a_child_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it was closed")

    monkeypatch.setattr(Caller, "close", fail)
    await AsyncClient("127.0.0.1:1").close()
    Client("127.0.0.1:1").close()


@pytest.mark.usefixtures("forked")
def test_a_child_of_a_parent_that_did_not_use_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fork, "_user", None)
    check_process()
    check_process()
