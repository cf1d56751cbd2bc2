"""Contestants that die, hang, talk nonsense and leave things behind; the fixture of all tests sees what is left."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from suite import descent, lineup
from suite.lineup import Contestant, ContestantError, Lineup

ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"heard": json.loads(line)}), flush=True)
"""
SLEEP = "import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineup, "END_SECONDS", 1.0)
    monkeypatch.setattr(lineup, "TERM_SECONDS", 0.2)
    monkeypatch.setattr(descent, "PATIENCE_SECONDS", 0.2)


def start(crew: Lineup, code: str) -> Contestant:
    return crew.start([sys.executable, "-c", code])


def test_a_contestant_answers_what_it_is_asked() -> None:
    with Lineup() as crew:
        contestant = start(crew, ECHO)
        assert repr(crew) == "<Lineup of 1>"
        assert [contestant.ask({"do": each}, timeout=30)["heard"]["do"] for each in "ab"] == ["a", "b"]
        assert repr(contestant) == f"<Contestant {contestant.pid}: sound>"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('the last straw', file=sys.stderr); sys.exit(3)", "exit code 3.*the last straw"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9.*none"),
        ("print('hello')", "said b'hello', which is no answer"),
        ("print('[1]')", "no answer"),
        ("print('x' * (1 << 21))", "and more, which is no answer"),
        ('print(\'{"error": "MemoryError"}\', flush=True)', "^MemoryError$"),
        (SLEEP, "no answer within 0.3 s"),
    ],
    ids=["dies", "killed", "rubbish", "no object", "endless", "error", "hangs"],
)
def test_a_contestant_that_fails_says_how(code: str, words: str) -> None:
    with Lineup() as crew:
        contestant = start(crew, code)
        with pytest.raises(ContestantError, match=re.compile(words, re.DOTALL)):
            contestant.ask({"do": "run"}, timeout=0.3 if code == SLEEP else 30)


def test_who_has_failed_is_asked_no_more_and_who_says_that_it_failed_is() -> None:
    with Lineup() as crew:
        hanging, honest = start(crew, SLEEP), start(crew, 'print(\'{"error": "no"}\\n{"fine": 1}\'); input()')
        with pytest.raises(ContestantError, match="no answer"):
            hanging.hear(timeout=0.1)
        with pytest.raises(ContestantError, match="failed before"):
            hanging.ask({}, timeout=30)
        with pytest.raises(ContestantError, match="no"):
            honest.hear(timeout=30)
        assert (hanging.is_sound, honest.is_sound) == (False, True)
        assert honest.hear(timeout=30) == {"fine": 1}


def test_a_contestant_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineup, "END_SECONDS", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); signal.pause()"
    with Lineup() as crew:
        contestant = start(crew, deaf)
        contestant.hear(timeout=30)
        crew.end(contestant)
        assert not Path(f"/proc/{contestant.pid}").exists()


ORPHANS = """
import os, subprocess, sys
detached = subprocess.Popen(["sleep", "60"], start_new_session=True)
if not os.fork():
    os.setsid()
    if not os.fork():
        os.execvp("sleep", ["sleep", "60"])
    os._exit(0)
print('{}', flush=True)
input()
os._exit(1)
"""


def test_what_a_contestant_leaves_running_is_ended_and_the_others_are_not() -> None:
    with Lineup() as crew:
        parent, other = start(crew, ORPHANS), start(crew, ECHO)
        parent.hear(timeout=30)
        pids = set(descent.descendants(parent.pid))
        crew.end(parent)
        assert pids
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        assert other.ask({"do": "go on"}, timeout=30)


LITTER = """
import os, signal, tempfile
from pathlib import Path
Path(tempfile.mkdtemp(), "much").write_text("rubbish")
Path("/dev/shm", f"region{os.getpid()}-1").write_text("shared")
print('{"folder": "%s"}' % tempfile.gettempdir(), flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_files_of_a_contestant_go_with_it_however_it_goes() -> None:
    with Lineup() as crew:
        contestant = start(crew, LITTER)
        folder = Path(contestant.hear(timeout=30)["folder"])
        shared = Path(f"/dev/shm/region{contestant.pid}-1")
        assert folder.is_dir()
        assert shared.exists()
        crew.end(contestant)
        assert not folder.exists()
        assert not shared.exists()


def test_older_files_of_shared_memory_are_somebody_elses(tmp_path: Path) -> None:
    mine = Path(f"/dev/shm/region{os.getpid()}-2")
    mine.touch()
    try:
        descent.remove_shared_files({os.getpid()}, time.time() + 60)
        assert mine.exists()
    finally:
        mine.unlink()


def test_an_error_of_the_referee_ends_everybody() -> None:
    pids: list[int] = []

    def measure() -> None:
        with Lineup() as crew:
            pids.extend(start(crew, code).pid for code in (ECHO, SLEEP, ORPHANS))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
