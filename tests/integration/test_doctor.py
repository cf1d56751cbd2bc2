"""Advice of a real server, and `arraymill doctor`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from servers import RunningServer

import arraymill as am
from arraymill import _advise_sample
from arraymill.cli import _doctor_table
from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NumPy's samples be smaller than they should be."""
    monkeypatch.setattr(_advise_sample, "MOST_BYTES", 16 << 20)


def test_advice(server: RunningServer, mill: am.Client) -> None:
    x = np.random.default_rng(1).random((1000, 500))
    advice = mill.advise(np.sqrt(am.asarray(x)).sum(axis=0))
    assert advice.now.input_bytes == x.nbytes
    assert (advice.link.workers, advice.link.arena_bytes) == (2, 128 << 20)
    assert advice.link.lanes[0].name == "frames"
    assert {lane.name for lane in advice.link.lanes[1:]} <= {"shared"}, "a slow machine may leave it out"
    assert advice.work.server_seconds_per_byte > 0
    assert advice.work.passes == 1
    assert advice.now.kept_seconds is not None
    assert str(advice).startswith("NumPy here takes about ")
    twice = mill.advise((am.asarray(x) - x.mean()) / am.asarray(x).std())
    assert twice.work.passes == 2
    assert twice.link is advice.link
    kept = mill.put(x)
    assert mill.advise(kept.sum()).work.stored_bytes == x.nbytes
    assert [info.id for info in mill.list()] == [kept.id]
    assert not mill.jobs()


def test_advice_knows_what_is_shared(mill: am.Client) -> None:
    x = mill.empty((1024, 1024))
    x[...] = 1.0
    assert am.is_shared(x)
    advice = mill.advise(am.asarray(x)[::2].sum() + am.asarray(np.ones(10)).sum())
    assert advice.link.shared_seconds is not None
    assert advice.link.shared_seconds >= advice.link.round_trip_seconds
    assert (advice.work.input_bytes, advice.work.placed_bytes) == (x.nbytes // 2 + 80, x.nbytes // 2)
    assert mill.advise(am.asarray(x[::-1]).sum()).work.placed_bytes == 0, "read backwards it is copied"
    with am.Client(mill.address, shared=False) as other:
        advice = other.advise(am.asarray(x).sum())
        assert (advice.link.shared_seconds, advice.work.placed_bytes) == (None, 0)


def test_doctor(mill: am.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code = run(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert code == (ExitCode.FAILED if any(line.startswith("problem") for line in lines) else ExitCode.OK)
    assert not [line for line in lines if len(line) > 80]
    assert any(line.startswith("ok       versions") for line in lines)
    for name in _doctor_table.standard_operations():
        assert sum(line.startswith(f"{name} ") for line in lines) == len(_doctor_table.SIZES) + 1
    few = {"sum(x)": _doctor_table.standard_operations()["sum(x)"]}
    monkeypatch.setattr("arraymill.cli._doctor.standard_operations", lambda: few)
    run(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["link"]["workers"] == 2
    assert [operation["operation"] for operation in told["operations"]] == ["sum(x)"]
    assert {"address", "server", "versions", "limits", "clocks", "threads"} <= {
        each["check"] for each in told["findings"]
    }
    assert not mill.list()
