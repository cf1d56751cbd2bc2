"""A whole row, with contestants that are scripts of a few lines."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from suite import descent, lineup, referee
from suite.contestants import HOMES
from suite.lineup import Contestant, Lineup
from suite.quantities import milliseconds
from suite.referee import NotInstalledError, Referee, command
from suite.results import Results
from suite.row import Entry, Row

FAKE = """
import json, os, sys, time
def say(**message): print(json.dumps(message), flush=True)
seconds, digest = 1.0, 7
say(versions={"abacus": "1.0"})
for line in sys.stdin:
    message = json.loads(line)
    what = message["do"]
    %s
    say(**{"prepare": {"digest": digest}, "run": {"figures": {"seconds": seconds}}, "end": {}}[what])
"""
WAYS = {
    "quick": "seconds = 0.5",
    "slow": "seconds = 2.0",
    "dies": "what == 'run' and sys.exit('no luck')",
    "hangs": "what == 'run' and time.sleep(60)",
    "babbles": "what == 'run' and print('once upon a time', flush=True)",
    "timeless": "seconds = 0",
    "other data": "digest = 8",
    "too small": "nbytes = message.get('task', {}).get('nbytes') or nbytes\n"
    "    if what == 'run' and nbytes > 8: say(error='too large'); continue",
    "mover": "if what == 'run': say(figures={'seconds': 1.0}, computed=False); continue",
}
TIME = milliseconds()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referee, "RUN_SECONDS", 1.0)
    monkeypatch.setattr(lineup, "TERM_SECONDS", 0.2)
    monkeypatch.setattr(descent, "PATIENCE_SECONDS", 0.2)


def start(crew: Lineup, name: str) -> Contestant:
    if name == "absent":
        raise NotInstalledError("there is no such thing")
    ways = WAYS | {"mute": "pass"}
    code = 'print(\'{"missing": "no module"}\')' if name == "mute" else FAKE % ways[name]
    return crew.start([sys.executable, "-c", code])


def measured(*names: str, sizes: tuple[int, ...] = (8,), largest: int = 0) -> tuple[Results, list[str]]:
    entries = tuple(Entry(name, name, largest=largest if name == "slow" else 0) for name in names)
    said: list[str] = []
    with Lineup() as crew:
        row = Row("A row", "sum", entries, TIME, sizes=sizes, rounds=3, further_rounds=2, warm_ups=1)
        return Referee(crew, start, said.append, random=Random(3)).measure("sum", row), said


def test_contestants_are_measured_in_turn() -> None:
    results, _ = measured("quick", "slow", "mover")
    (size,) = results.sizes
    assert {label: [each["seconds"] for each in samples] for label, samples in size.samples.items()} == {
        "quick": [0.5] * 3,
        "slow": [2.0] * 3,
        "mover": [1.0] * 3,
    }
    assert (size.missing, size.idle) == ({}, ["mover"])
    assert results.versions["slow"] == {"abacus": "1.0"}
    assert results.ratio("slow", "quick", TIME) == 4.0


def test_who_fails_is_left_out_with_the_reason_and_the_others_are_measured() -> None:
    names = ("dies", "hangs", "babbles", "timeless", "absent", "mute")
    results, said = measured("quick", *names, sizes=(8, 16))
    for size in results.sizes:
        assert list(size.samples) == ["quick"]
        assert set(size.missing) == set(names)
    words = {"dies": "no luck", "hangs": "no answer within 1 s", "babbles": "once upon", "timeless": "no time"}
    words |= {"absent": "no such thing", "mute": "no module"}
    assert all(word in results.sizes[0].missing[name] for name, word in words.items())
    assert all(any(line.strip().startswith(name) and word in line for line in said) for name, word in words.items())


def test_who_cannot_do_one_size_may_do_the_next() -> None:
    results, _ = measured("too small", "quick", sizes=(16, 8))
    assert [list(size.samples) for size in results.sizes] == [["quick"], ["too small", "quick"]]
    assert results.sizes[0].missing == {"too small": "too large"}
    assert results.sizes[1].missing == {}


def test_a_size_that_does_not_fit_into_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referee, "available_bytes", lambda: 16 * 4)
    results, said = measured("quick", "absent", sizes=(8, 16, 32))
    assert [list(size.samples) for size in results.sizes] == [["quick"], ["quick"], []]
    assert set(results.sizes[2].missing) == {"quick", "absent"}
    assert "need 0.0 GiB of memory" in results.sizes[2].missing["quick"]
    assert "no such thing" in results.sizes[2].missing["absent"]
    assert any("32 bytes is left out" in line for line in said)


def test_who_takes_no_such_arrays_is_not_asked() -> None:
    results, _ = measured("quick", "slow", sizes=(16, 8), largest=8)
    assert [list(size.samples) for size in results.sizes] == [["quick"], ["quick", "slow"]]
    assert results.sizes[0].missing == {"slow": "it is asked of arrays of at most 8 bytes"}


def test_contestants_with_other_data_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="different data"):
        measured("quick", "other data")


def test_a_contestant_starts_in_its_environment(tmp_path: Path) -> None:
    python = tmp_path / "peers" / "bin" / "python"
    with pytest.raises(NotInstalledError, match="make bench makes it"):
        command("ray", tmp_path)
    python.parent.mkdir(parents=True)
    python.touch()
    words, variables = command("ray", tmp_path)
    assert words == [str(python), "-m", "suite.contestant", "ray"]
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables["PYTHONPATH"].split(":")[0] == str(referee.ROOT)
    assert command("numpy", tmp_path)[0][0] == sys.executable
    assert set(HOMES) >= {"ray", "numpy"}
