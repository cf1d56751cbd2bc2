"""The id of a submitted job, as the command line tells it."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncJob
from arraymill.cli._exit_codes import ExitCode
from arraymill.cli._job import ShownId
from arraymill.cli._options import Settings
from arraymill_proto.v1 import arraymill_pb2 as pb


class Deaf(io.StringIO):
    """A stream that takes nothing."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_id_that_could_not_be_told_is_told_the_next_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = SimpleNamespace(id="first")
    shown = ShownId(Settings(None, None, quiet=True, as_json=False), cast("AsyncJob", job))
    job.id = "second"
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", Deaf())
        with pytest.raises(OSError, match="No space left"):
            shown.update()
    shown.update()
    assert "is second now" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_new_id_is_told_once(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Who comes back later with the first one would find nothing."""
    job = SimpleNamespace(id="first")
    shown = ShownId(Settings(None, None, quiet=True, as_json=as_json), cast("AsyncJob", job))
    shown.update()
    job.id = "second"
    shown.update()
    shown.update()
    captured = capsys.readouterr()
    if as_json:
        assert [json.loads(line) for line in captured.out.splitlines()] == [
            {"id": "first"},
            {"id": "second", "replaces": "first"},
        ]
        assert captured.err == ""
    else:
        assert captured.out == "first\n"
        assert captured.err == ("arraymill: job first went with its server; it was submitted again and is second now\n")


@pytest.mark.parametrize(
    ("options", "state", "told"),
    [
        ((), pb.JOB_CANCELLED, "the client was closed before job job0 had its input: it is cancelled"),
        (
            ("--key", "nightly"),
            pb.JOB_RUNNING,
            "job job0 may lack input, submit it again under key 'nightly' to go on with it",
        ),
    ],
    ids=["own key", "known key"],
)
async def test_an_upload_that_is_out_of_time_says_in_one_line_what_becomes_of_the_job(
    jobs: FakeJobServer, tmp_path: Path, options: tuple[str, ...], state: pb.JobState, told: str
) -> None:
    np.save(tmp_path / "x.npy", np.ones(1000))
    jobs.info.unary_bytes, jobs.halts = 0, [2]
    words = ("compute", "x.sum()", f"x={tmp_path / 'x.npy'}", "--server", jobs.address, "--submit", "--timeout", "1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arraymill", *words, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert output == b"job0\n"
    assert errors.decode() == f"arraymill: the timeout passed: {told}\n"
    assert process.returncode == ExitCode.DEADLINE
    assert jobs.job.message.state == state
