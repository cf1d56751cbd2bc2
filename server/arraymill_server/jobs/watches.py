"""Whoever watches a job sleeps until there is something new to tell.

Theory of operation. What is told of a job is its state, its place in the queue and its figures; a watcher remembers
what it has told, and is woken to compare. There are three kinds of news:

- its state: its watchers are woken at once;
- its figures (bytes received, blocks done): the job is noted, and a pass looks at all that were noted;
- the queue: whoever comes, goes or is served may move all others; a pass looks all places up in one go.

A pass wakes those who have told something else. Passes run four times a second at most, whatever happens in between,
and rest longer after waking many. So progress costs a job one look into a dict while nobody watches it, a watcher to
which nothing happens costs nothing, and all watchers together cost no more than a part of the event loop.

Rejected: to let each watcher look now and then (2,048 of them cost a core); a future for each job that its watchers
share: places are compared with what each one has told, or one that came between two passes would miss a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.life import State
from arraymill_server.jobs.submitted import Figures, SubmittedJob

WATCH_SECONDS: Final = 0.25
"""Least time between two passes: smooth enough for a bar."""

WATCHERS_PER_SECOND: Final = 256
"""How many a pass may wake for each second that it rests: 64 hear of everything four times a second, 2,048 every eight
seconds. To tell one of them takes some 0.17 ms, so this is a twentieth of a core."""


class Told(NamedTuple):
    """What a watcher has told."""

    state: State
    place: int
    """Jobs that stand before it while it is queued."""
    figures: Figures


class Watcher:
    """One who watches a job."""

    def __init__(self, job: SubmittedJob) -> None:
        self.job = job
        self.told: Told | None = None
        self.news = asyncio.Event()
        """Set when there may be something new."""


class Watches:
    """All who watch jobs. Make it in a running event loop.

    Args:
        admission: Tells places in the queue.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._watchers: dict[SubmittedJob, set[Watcher]] = {}
        """By job, none of them empty."""
        self._noted: set[SubmittedJob] = set()
        """Watched jobs whose figures have changed since the last pass."""
        self._figures = _Passes(self._tell_figures)
        self._places = _Passes(self._tell_places)
        admission.on_move(self._moved)

    def __repr__(self) -> str:
        count = sum(map(len, self._watchers.values()))
        is_due = self._figures.is_due or self._places.is_due
        return f"<Watches {count} of {len(self._watchers)} jobs, {'a pass is due' if is_due else 'quiet'}>"

    def changed(self, job: SubmittedJob) -> None:
        """Hear that the state of a job is another."""
        for watcher in self._watchers.get(job, ()):
            watcher.news.set()

    def progressed(self, job: SubmittedJob) -> None:
        """Hear that the figures of a job may be others."""
        if job in self._watchers:
            self._noted.add(job)
            self._figures.ask()

    async def news(self, job: SubmittedJob, repeat_seconds: float) -> AsyncGenerator[None]:
        """Yield when there is something to tell: at once, then after changes, and again when there are none for long.

        It ends when the end of the job was told. Close it.

        Args:
            job: What is watched.
            repeat_seconds: Longest silence.
        """
        with self._watching(job) as watcher:
            while True:
                watcher.told = self._seen(job)
                yield
                if watcher.told.state.has_ended:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(repeat_seconds):
                        await self._change(watcher)

    async def _change(self, watcher: Watcher) -> None:
        while watcher.told == self._seen(watcher.job):
            watcher.news.clear()
            await watcher.news.wait()

    def _seen(self, job: SubmittedJob) -> Told:
        return Told(job.state, self._admission.position_of(job.owner) or 0, job.figures)

    @contextmanager
    def _watching(self, job: SubmittedJob) -> Generator[Watcher]:
        watcher = Watcher(job)
        self._watchers.setdefault(job, set()).add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[job].discard(watcher)
            if not self._watchers[job]:
                del self._watchers[job]
                self._noted.discard(job)
            if not self._watchers:
                self._figures.cancel()
                self._places.cancel()

    # ------------------------------------------------------------------ passes

    def _moved(self) -> None:
        if self._watchers:
            self._places.ask()

    def _tell_figures(self) -> int:
        noted, self._noted = self._noted, set()
        progressed = list[Watcher]()
        for job in noted:
            figures = job.figures
            progressed += [each for each in self._watchers[job] if each.told and each.told.figures != figures]
        return _wake(progressed)

    def _tell_places(self) -> int:
        queued = [job for job in self._watchers if job.state is State.QUEUED]
        if not queued:
            return 0
        places = self._admission.places()
        moved = list[Watcher]()
        for job in queued:
            place = places.get(job.owner, 0)
            moved += [each for each in self._watchers[job] if each.told and each.told.place != place]
        return _wake(moved)


class _Passes:
    """Runs a pass soon after it is asked for, with rests in between.

    Args:
        run: The pass; returns how many it has woken.
    """

    def __init__(self, run: Callable[[], int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._run = run
        self._next = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_due(self) -> bool:
        return self._timer is not None

    def ask(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(max(self._next, self._loop.time()), self._pass)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self) -> None:
        self._timer = None
        woken = self._run()
        self._next = self._loop.time() + max(WATCH_SECONDS, woken / WATCHERS_PER_SECOND)


def _wake(watchers: list[Watcher]) -> int:
    for watcher in watchers:
        watcher.news.set()
    return len(watchers)
