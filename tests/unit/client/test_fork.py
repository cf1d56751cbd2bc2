"""A forked child gets an error, not a crash."""

from __future__ import annotations

import os

import pytest

from arraymill import _fork
from arraymill._background import run
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


@pytest.mark.usefixtures("forked")
def test_a_child_of_a_parent_that_did_not_use_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fork, "_user", None)
    check_process()
    check_process()
