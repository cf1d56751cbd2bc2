"""The judge can condemn: each thing that must not be makes it complain, in so many words, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, Self, cast

import psutil
import pytest
import pytest_asyncio
from chaos import trial as module
from chaos.invariants import Belongings, InvariantError
from chaos.ledger import Call, Outcome
from chaos.site import Site
from chaos.trial import Plan, Trial, is_alive, site_of, trial
from patience import until

import arraymill as am
from arraymill_server.testing.observer import JOURNAL, Observation
from arraymill_server.testing.orders import Blow, Point

NOTHING = Belongings(4, 30, 9, 7, 0, 0, frozenset(), 1)


@dataclass
class Job:
    """A job that the server knows."""

    id: str
    key: str
    state: str
    has_ended: bool
    is_deleted: bool = False

    async def delete(self) -> None:
        self.is_deleted = True


@dataclass
class Double:
    """A server and its site, without either."""

    folder: Path
    belongs: list[Belongings] = field(default_factory=lambda: [NOTHING])
    """One look after the other; the last one stays."""
    jobs: list[Job] = field(default_factory=list[Job])
    arrays: set[str] = field(default_factory=set[str])
    running_jobs: int = 0
    looks: list[Observation] = field(default_factory=list[Observation])
    is_there: bool = True
    code: int = 0
    family_members: list[psutil.Process] = field(default_factory=list[psutil.Process])
    shared: list[str] = field(default_factory=list[str])
    pids: frozenset[int] = frozenset({4711})
    address: str = "127.0.0.1:1"
    events: list[str] = field(default_factory=list[str])

    async def start(self) -> None:
        self.events.append("start")

    async def stop(self) -> int:
        self.events.append("stop")
        return self.code

    def kill(self) -> None:
        self.events.append("kill")

    def tell(self) -> None:
        self.events.append("tell")

    def log(self, lines: int) -> str:
        return "the end of the log"

    def family(self) -> list[psutil.Process]:
        return self.family_members

    def shared_files(self) -> list[str]:
        return self.shared

    def observed(self) -> list[Observation]:
        return self.looks

    async def belongings(self, info: Any) -> Belongings:
        return self.belongs.pop(0) if len(self.belongs) > 1 else self.belongs[0]


class Mill:
    """A client of the double; what a warm-up asks for is answered with nothing."""

    def __init__(self, double: Double) -> None:
        self._double = double

    async def __aenter__(self) -> Self:
        if not self._double.is_there:
            raise am.ConnectionFailedError("nobody there")
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def sum(self, x: object) -> None: ...

    async def submit(self, expression: object) -> Any:
        async def nothing() -> None: ...

        return SimpleNamespace(result=nothing, delete=nothing)

    async def jobs(self) -> list[Job]:
        return [job for job in self._double.jobs if not job.is_deleted]

    async def job(self, id: str) -> Job:
        return next(job for job in self._double.jobs if job.id == id)

    async def list(self) -> Any:
        return [SimpleNamespace(id=id) for id in self._double.arrays]

    async def delete(self, id: str) -> None:
        self._double.arrays.discard(id)

    async def info(self) -> Any:
        return SimpleNamespace(running_jobs=self._double.running_jobs, waiting_jobs=0)


class DoubleTrial(Trial):
    """A trial whose clients are those of the double."""

    def client(self, address: str | None = None) -> am.AsyncClient:
        return cast("am.AsyncClient", Mill(cast("Double", self.site)))


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_SECONDS", 0.01)
    monkeypatch.setattr(module, "TELL_SECONDS", 0.02)
    monkeypatch.setattr(module, "Trial", DoubleTrial)


@pytest.fixture
def double(tmp_path: Path) -> Double:
    return Double(tmp_path)


@pytest_asyncio.fixture
async def run(double: Double) -> AsyncIterator[Trial]:
    """A trial that has begun."""
    async with AsyncExitStack() as stack:
        run = DoubleTrial(Plan(seed=1, limit=9, has_bystander=False), cast("Site", double), stack)
        await run.begin()
        yield run


async def judged(run: Trial) -> tuple[str, ...]:
    """Return what the judge complains of."""
    try:
        await run.judge()
    except InvariantError as error:
        return error.complaints
    return ()


def call(outcome: Outcome, text: str = "", end: float = 2.0) -> Call:
    return Call(3, "sum", 1.0, 5.0, end=end, outcome=outcome, text=text)


def look(lag: float, seconds: float = 0.0) -> Observation:
    """So many seconds from now."""
    return Observation(monotonic() + seconds, (lag,) * 10, (), 7, 0, 0)


async def test_nothing_to_complain_of(run: Trial, double: Double) -> None:
    double.looks = [look(1.0, -9), *(look(0.001) for _ in range(5))]
    run.ledger.calls = [call(Outcome.RIGHT), call(Outcome.EXPECTED, text="BusyError: oh")]
    assert await judged(run) == ()
    assert run.figures == {"loop lag": "p99 1.0 ms"}, "what was before does not count"


# ------------------------------------------------------------------ lag


@pytest.mark.parametrize("is_strict", [True, False])
async def test_a_loop_that_is_late(run: Trial, double: Double, is_strict: bool) -> None:
    run.plan = replace(run.plan, is_strict=is_strict)
    double.looks = [look(0.06) for _ in range(5)]
    complaint = "too slow: the event loop was 60.0 ms late at the 99th percentile"
    assert await judged(run) == ((complaint,) if is_strict else ())
    assert run.figures == {"loop lag": "p99 60.0 ms"}


# ------------------------------------------------------------------ drain and belongings


async def test_a_job_without_end(run: Trial, double: Double) -> None:
    double.jobs = [Job("j1", "k", "running", has_ended=False), Job("j2", "", "failed", has_ended=True)]
    assert await judged(run) == ("no end: job j1 (k) is running",)
    assert [job.is_deleted for job in double.jobs] == [False, True]


async def test_a_job_without_a_name_and_without_end(run: Trial, double: Double) -> None:
    double.running_jobs = 2
    assert await judged(run) == ("no end: 2 jobs run and 0 wait",)


async def test_what_is_left_behind(run: Trial, double: Double) -> None:
    double.belongs = [replace(NOTHING, leases=1, descriptors=32)]
    assert await judged(run) == (
        "left behind: 2 descriptors (30 before, 32 now)",
        "left behind: 1 leases (0 before, 1 now)",
    )


async def test_what_goes_a_little_later(run: Trial, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_SECONDS", 20.0)
    double.belongs = [replace(NOTHING, threads=11), NOTHING]
    double.arrays = {"a1", "a2"}
    assert await judged(run) == ()
    assert double.arrays == set()


async def test_a_server_that_does_not_answer(run: Trial, double: Double) -> None:
    double.is_there = False
    assert await judged(run) == ("the server does not answer: nobody there",)


# ------------------------------------------------------------------ ledgers and stories


async def test_calls(run: Trial) -> None:
    run.complaints.append("a row has found this")
    run.ledger.calls = [call(Outcome.WRONG), call(Outcome.EXPECTED, text="see 4711")]
    run.bystander.calls = [call(Outcome.FAILED, text="WorkerError: oh")]
    assert await judged(run) == (
        "a row has found this",
        "a wrong result: call 3 (sum) after 1.00 s of 5 s",
        "an error tells: pid 4711 in: see 4711",
        "bystander: a job lost: call 3 (sum) after 1.00 s of 5 s WorkerError: oh",
    )


@pytest.mark.parametrize(("is_strict", "seconds"), [(True, 6.5), (False, 15.5)])
async def test_late_calls(run: Trial, is_strict: bool, seconds: float) -> None:
    run.plan = replace(run.plan, is_strict=is_strict)
    run.ledger.calls = [call(Outcome.RIGHT, end=seconds), call(Outcome.RIGHT, end=seconds + 1)]
    assert await judged(run) == (f"late: call 3 (sum) after {seconds:.2f} s of 5 s",)


async def test_a_job_that_was_executed_twice(run: Trial, double: Double) -> None:
    lines = [{"life": 1, "job": job, "what": what, "key": "k"} for job in "ab" for what in ("added", "succeeded")]
    (double.folder / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert await judged(run) == ("executed twice: k@1: a added, a succeeded, b added, b succeeded",)


async def test_the_judge_heals_first(run: Trial) -> None:
    run.book.order(Blow.KILL, Point.COMPUTE, times=3)
    assert await judged(run) == ()
    assert run.book.withdraw() == 0


# ------------------------------------------------------------------ around a body


async def test_a_body_that_hangs(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(seed=1, limit=0.01, has_bystander=False)
    with pytest.raises(InvariantError, match=r"^hangs: it was not done after 0.01 s \(the stacks are above\)$"):
        async with trial(plan, cast("Site", double)):
            await asyncio.Event().wait()
    assert double.events == ["tell"]
    told = capsys.readouterr().err
    assert "test_a_body_that_hangs" in told
    assert "the end of the log" in told


async def test_a_body_that_is_done_is_judged(double: Double) -> None:
    with pytest.raises(InvariantError, match=r"^too slow: much$"):
        async with trial(Plan(seed=1, limit=9, has_bystander=False), cast("Site", double)) as run:
            run.too_slow("much")
    async with trial(Plan(seed=1, limit=9, has_bystander=False, is_strict=False), cast("Site", double)) as run:
        run.too_slow("much")


@pytest.fixture
def made(double: Double, monkeypatch: pytest.MonkeyPatch) -> Double:
    """The double that `site_of` makes."""

    def make(*_: object, **__: object) -> Double:
        return double

    monkeypatch.setattr(module, "Site", make)
    return double


@pytest.fixture
def child() -> Iterator[psutil.Popen]:
    """A process that waits for its end."""
    with psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        with suppress(psutil.NoSuchProcess):
            child.kill()


async def test_a_server_that_ends_well(made: Double) -> None:
    async with site_of(Plan(seed=1, limit=9)):
        assert made.events == ["start"]
    assert made.events == ["start", "stop", "kill"]


async def test_a_server_that_leaves_something(made: Double, child: psutil.Popen) -> None:
    made.code, made.family_members, made.shared = 3, [child], ["am-4711-x"]
    with pytest.raises(InvariantError) as caught:
        async with site_of(Plan(seed=1, limit=9)):
            pass
    assert caught.value.complaints == (
        "the server ended with exit code 3: the end of the log",
        f"left behind: process {child.pid}",
        "left behind: /dev/shm/am-4711-x",
    )
    assert made.events[-1] == "kill"


async def test_a_zombie_is_dead(child: psutil.Popen) -> None:
    process = psutil.Process(child.pid)
    assert is_alive(process)
    child.kill()
    await until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert not is_alive(process)
    child.wait()
    assert not is_alive(process)
