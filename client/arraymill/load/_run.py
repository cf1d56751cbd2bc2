"""A load test from its begin to its report.

The load tester itself sends no jobs. It starts the generators, tells them when to begin, asks the server once per
second how it is doing, and puts together what comes back.

A server that dies in mid-test does not end it: jobs fail, their errors are counted by reason, and when it comes back
the jobs do well again. When neither it nor any job has answered for `LOST_SECONDS` the run ends early; a server that
does not answer when the run is over has been lost too. The run ends early also when the generators cannot hold a rate,
since higher ones would tell nothing. Ctrl-C and SIGTERM end it: answers get another second. A generator that dies ends
it too; what it has measured in that step is lost but for the plot over time. In all of these cases the report tells
what was measured until then.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from time import monotonic
from typing import Any, Final, Protocol

import numpy as np

from arraymill import AsyncClient, ServerInfo, __version__
from arraymill._address import resolve
from arraymill.load._conditions import judge, read_condition
from arraymill.load._fleet import Fleet, fleet
from arraymill.load._gather import HELD_SHARE, Gathering, Seen, make_step
from arraymill.load._knee import find_knee
from arraymill.load._plan import Plan
from arraymill.load._report import FORMAT, Report, Step
from arraymill.load._work import check_entry
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, DeadlineError

LEAD_SECONDS: Final = 0.2
"""From telling the generators until the first job: all must have been told."""

LOOK_SECONDS: Final = 1.0
"""How often the server is asked, and what has come is shown."""

ANSWER_SECONDS: Final = 5.0
"""What the server gets to answer that question: under full load it takes a while."""

LOST_SECONDS: Final = 10.0
"""After so long without any answer the server counts as lost: one that restarts is back within a few."""


class End(Enum):
    """Why a run ended before its time."""

    INTERRUPTED = "interrupted (Ctrl-C)"
    TERMINATED = "terminated (SIGTERM)"
    LOST = f"the server has not answered for {LOST_SECONDS:g} s"
    GONE = "the server did not answer when the run was over"
    NOT_HELD = "the generator could not hold the rate"
    GENERATOR = "a generator process has ended"


class View(Protocol):
    """Shows a run while it goes on."""

    def step(self, number: int, rate: float | None) -> None:
        """A step begins."""
        ...

    def show(self, seen: Seen, server: Mapping[str, float]) -> None:
        """Another second has passed; negative ones are those of the warm-up."""
        ...


class Run:
    """A load test.

    Args:
        plan: What it does.
        server: Address; None: $ARRAYMILL_SERVER, else localhost:50051.
        view: Shows it.

    Raises:
        InputError: Something in the mix has no meaning.
        ParameterError: The address is malformed.
    """

    def __init__(self, plan: Plan, server: str | None, view: View) -> None:
        self._plan = plan
        self._address = resolve(server)
        self._names = [check_entry(entry) for entry in plan.mix]
        self._conditions = [read_condition(text) for text in plan.fail_if]
        self._view = view
        self._gathering = Gathering(-1)
        self._steps = list[Step]()
        self._fleet: Fleet | None = None
        self._answered = monotonic()
        """When it, or a job, did last."""
        self.end: End | None = None
        """Why the run ended before its time; None: it did not."""

    async def run(self) -> Report:
        """Do all steps.

        Raises:
            ArraymillError: There is no server at the begin, or it refuses the clients.
        """
        began = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        async with AsyncClient(self._address, retry_for=0) as mill:
            info = await mill.info()
            async with fleet(self._plan.processes, self._take) as generators:
                await generators.prepare(self._plan, self._address)
                self._take_signals(generators)
                for number, rate in enumerate(self._plan.rates):
                    self._steps.append(await self._step(generators, mill, number, rate))
                    if self.end is not None:
                        break
                if self.end is None and not await _is_there(mill):
                    self.end = End.GONE
        return self._report(began, info)

    # ------------------------------------------------------------------ one step

    async def _step(self, generators: Fleet, mill: AsyncClient, number: int, rate: float | None) -> Step:
        warm_up = 0.0 if number else self._plan.warm_up
        begin = monotonic() + LEAD_SECONDS + warm_up
        self._gathering = Gathering(number)
        self._answered = monotonic()
        self._view.step(number, rate)
        asking = asyncio.ensure_future(self._ask(mill, begin))
        watching = asyncio.ensure_future(self._watch(generators, begin))
        try:
            results = await generators.step(number, begin, warm_up, rate)
        finally:
            asking.cancel()
            watching.cancel()
            await asyncio.gather(asking, watching, return_exceptions=True)
        step = make_step(self._gathering, results, self._names, rate=rate, clients=self._plan.clients)
        if self.end is None and not generators.is_whole:
            self.end = End.GENERATOR
        held = step.generator.sent_per_second
        if self.end is None and step.generator.is_limit and rate is not None and (held or 0) < HELD_SHARE * rate:
            self.end = End.NOT_HELD
        return step

    def _take(self, told: Mapping[str, Any]) -> None:
        """Take news of a generator."""
        if told["number"] == self._gathering.number:
            jobs = self._gathering.jobs
            self._gathering.add(told)
            if self._gathering.jobs > jobs:
                self._answered = monotonic()

    async def _ask(self, mill: AsyncClient, begin: float) -> None:
        """Ask the server how it is doing, again and again."""
        while True:
            with suppress(ArraymillError):
                info = await mill.info(timeout=ANSWER_SECONDS)
                self._answered = monotonic()
                self._gathering.answered(self._answered - begin, figures(info))
            await asyncio.sleep(LOOK_SECONDS)

    async def _watch(self, generators: Fleet, begin: float) -> None:
        """Show how far it is, and end it when the server is lost."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = monotonic()
            self._view.show(self._gathering.seen(now - begin), self._gathering.server)
            if self.end is None and now - self._answered > LOST_SECONDS:
                self.end = End.LOST
                generators.stop()

    def _take_signals(self, generators: Fleet) -> None:
        """Let the first signal end the step that runs. Later ones change nothing: the end is near, and then the report.

        It stays so until the event loop is closed: none may take what was measured while a report is made of it.
        """
        loop = asyncio.get_running_loop()

        def stop(end: End) -> None:
            if self.end is None:
                self.end = end
                generators.stop()

        loop.add_signal_handler(signal.SIGINT, stop, End.INTERRUPTED)
        loop.add_signal_handler(signal.SIGTERM, stop, End.TERMINATED)

    # ------------------------------------------------------------------ the report

    def _report(self, began: str, info: ServerInfo) -> Report:
        steps = self._steps
        knee = find_knee(steps) if self._plan.step_rate else None
        return Report(
            format=FORMAT,
            arraymill=__version__,
            title=self._plan.title,
            began=began,
            server={
                "address": self._address,
                "version": info.version,
                "numpy_version": info.numpy_version,
                "workers": info.workers,
                "arena_bytes": info.arena_bytes,
            },
            machine={"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
            plan=self._plan.document(),
            steps=steps,
            knee=knee,
            verdicts=judge(self._conditions, steps, knee),
            ended="" if self.end is None else self.end.value,
        )


async def _is_there(mill: AsyncClient) -> bool:
    """Tell whether the server answers, if only that it is busy."""
    try:
        await mill.info(timeout=ANSWER_SECONDS)
    except (ConnectionFailedError, DeadlineError):
        return False
    except ArraymillError:
        return True
    return True


def figures(info: ServerInfo) -> dict[str, float]:
    """Return what is told of a server beside the figures of its clients."""
    return {
        "running_jobs": info.running_jobs,
        "waiting_jobs": info.waiting_jobs,
        "busy_workers": info.busy_workers,
        "arena_used_bytes": info.arena_bytes - info.arena_free_bytes,
        "shared_bytes": info.shared_bytes,
        "connections": info.connections,
        "refused": sum(info.refusals.values()),
        "loop_lag_seconds": info.loop_lag_seconds,
    }
