"""Sends the jobs of one generator in one step, in a closed or an open loop.

In a closed loop each client sends its next job when it has the answer to the last one: a slow server slows the clients
down, and what they then do not send nobody measures. In an open loop jobs are sent at times that were fixed before;
latency counts from these, so that a job which could not be sent in time, or had to wait behind others, has waited.

A client whose job failed waits for `PAUSE_SECONDS` in a closed loop: a server that is gone would otherwise be asked a
thousand times per second. An open loop goes on at its rate.

When the time of a step is over, jobs that are under way may still end for `DRAIN_SECONDS`, or for `STOP_SECONDS` when
somebody has stopped it. Those that do not are cancelled, and counted as unfinished, as are then jobs that could not be
sent at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any, Final

from arraymill.load._clients import LoadClient
from arraymill.load._schedule import Arrival, Share, arrivals, choices
from arraymill.load._tally import UNFINISHED, WRONG, Tally
from arraymill.load._work import Work
from arraymill_proto.v1 import arraymill_pb2 as pb

PAUSE_SECONDS: Final = 0.1
DRAIN_SECONDS: Final = 10.0
STOP_SECONDS: Final = 1.0

MAX_UNDER_WAY: Final = 20_000
"""Jobs of a generator in an open loop that have no answer: some 10 KB each. Later ones are sent when there is room, and
their wait counts."""

MAX_UNSENT: Final = 200_000
"""Jobs that are counted although nobody could send them: half a second's work. What is beyond makes no rate of errors
another one."""

BATCH: Final = 1000
"""Of these, until others have a turn."""

ASIDE_BYTES: Final = 1 << 20
"""From here on answers are compared on a thread: it takes longer than a small job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One step, as a generator is told of it."""

    begin: float
    """On the clock of the machine (`time.monotonic`), which all its processes share."""
    warm_up: float
    """Seconds before the begin in which jobs are sent that do not count."""
    seconds: float | None
    count: int | None
    """Jobs of this generator; one of the two is None."""
    rate: float | None
    """Of all generators; None: a closed loop."""
    arrival: Arrival
    in_flight: int
    timeout: float
    check: int
    share: Share
    seed: str


class Drive:
    """One step. Make it in a running event loop."""

    def __init__(
        self, order: Order, clients: Sequence[LoadClient], works: Sequence[Work], weights: Sequence[float]
    ) -> None:
        self._order = order
        self._clients = clients
        self._works = works
        self._loop = asyncio.get_running_loop()
        self._choices = choices(weights, f"{order.seed}/mix")
        self.tally = Tally(len(works), order.seconds if order.seconds is not None else float("inf"))
        self.was_full = False
        """Whether MAX_UNDER_WAY was reached: then the server was too slow, and not the generator."""
        self._left = order.count
        self._answers = 0
        self._times: Iterator[float] = iter(())
        """When jobs of an open loop are meant to be sent."""
        self._unsent: list[float] = []
        """The one that waits to be sent."""
        self._defect: BaseException | None = None
        self._under_way = set[asyncio.Task[Any]]()
        self._room = asyncio.Event()
        self._stopped = asyncio.Event()
        """By somebody, before its time."""
        self._is_over = False
        """Nothing is sent any more."""

    def stop(self) -> None:
        """End the step now."""
        self._stopped.set()

    async def run(self) -> None:
        """Send, until the time or the count is over or `stop` is called, and wait for answers.

        Raises:
            Exception: A defect of the load tester; what a job raises is counted instead.
        """
        order = self._order
        if order.rate is not None:
            self._times = self._meant(arrivals(order.rate, order.arrival, order.share, order.seed, -order.warm_up))
        try:
            await self._until_over(self._closed() if order.rate is None else self._open())
            await self._drain()
        finally:
            under_way = list(self._under_way)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        if self._defect is not None:
            raise self._defect
        await self._count_unsent()

    @property
    def _now(self) -> float:
        return self._loop.time() - self._order.begin

    async def _until_over(self, sending: Coroutine[Any, Any, None]) -> None:
        """Let somebody send until the step is over."""
        sender, stopping = asyncio.ensure_future(sending), asyncio.ensure_future(self._stopped.wait())
        end = None if self._order.seconds is None else max(0.0, self._order.seconds - self._now)
        try:
            await asyncio.wait({sender, stopping}, timeout=end, return_when=asyncio.FIRST_COMPLETED)
            if self._order.rate is not None and not self._stopped.is_set():
                await asyncio.wait({sender, stopping}, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.is_set():
                self.tally.end = min(self.tally.end, max(self._now, 0.0))
            self._is_over = True
            if sender.done():
                sender.result()
        finally:
            sender.cancel()
            stopping.cancel()
            await asyncio.gather(sender, stopping, return_exceptions=True)

    async def _drain(self) -> None:
        """Wait for answers; a stop shortens it."""
        if not self._under_way:
            return
        waiting = asyncio.gather(*self._under_way, return_exceptions=True)
        stopping = asyncio.ensure_future(self._stopped.wait())
        try:
            longest = min(DRAIN_SECONDS, self._order.timeout)
            both: set[asyncio.Future[Any]] = {waiting, stopping}
            await asyncio.wait(both, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.is_set():
                await asyncio.wait({waiting}, timeout=min(STOP_SECONDS, longest))
        finally:
            waiting.cancel()
            stopping.cancel()
            await asyncio.gather(waiting, stopping, return_exceptions=True)

    async def _count_unsent(self) -> None:
        """Count the jobs that were meant to be sent until the end of the step, and were not."""
        for number, intended in enumerate(islice(chain(self._unsent, self._times), MAX_UNSENT)):
            if intended >= self.tally.end:
                return
            if intended >= 0:
                self.tally.meant += 1
                self.tally.failed(next(self._choices), intended, UNFINISHED)
            if number % BATCH == 0:
                await asyncio.sleep(0)

    # ------------------------------------------------------------------ the two loops

    async def _closed(self) -> None:
        """Let every client send one job after the other."""
        await asyncio.sleep(max(0.0, -self._order.warm_up - self._now))
        for client in self._clients:
            for _ in range(self._order.in_flight):
                self._begin(self._one_by_one(client))
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _one_by_one(self, client: LoadClient) -> None:
        end = self._order.seconds
        while not (self._is_over or self._stopped.is_set()) and ((now := self._now) < 0 or self._takes_one()):
            if end is not None and now >= end:
                return
            if not await self._do(client, next(self._choices), now):
                await asyncio.sleep(PAUSE_SECONDS)

    def _takes_one(self) -> bool:
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0

    def _meant(self, times: Iterator[float]) -> Iterator[float]:
        """Return the times that belong to the step."""
        end = self._order.seconds
        for intended in times:
            if (end is not None and intended >= end) or (intended >= 0 and not self._takes_one()):
                return
            yield intended

    async def _open(self) -> None:
        """Send at the times that were fixed before."""
        clients = cycle(self._clients)
        for intended in self._times:
            self._unsent = [intended]
            # Also where it is late: what has come meanwhile must be read, and a job is sent when it is scheduled.
            await asyncio.sleep(max(0.0, intended - self._now))
            if intended < 0 <= self._now:
                continue  # what is left of the warm-up must not take the time of what counts
            while len(self._under_way) >= MAX_UNDER_WAY:
                self.was_full = True
                self._room.clear()
                await self._room.wait()
            entry = next(self._choices)
            self._begin(self._do(next(clients), entry, intended))
            self._unsent = []

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._defect = self._defect or error
            self._stopped.set()

    # ------------------------------------------------------------------ one job

    async def _do(self, client: LoadClient, entry: int, intended: float) -> bool:
        """Send a job and wait for its answer; tell whether it ended well."""
        work, tally, times = self._works[entry], self.tally, list[pb.JobTimes]()
        sent = self._now
        if self._order.rate is not None:
            tally.sent(intended, sent)
        try:
            values = await client.run(work.transport, work.job, self._order.timeout, times.append)
            ended = self._now
            is_right = await self._is_right(work, values, intended)
        except asyncio.CancelledError:
            tally.failed(entry, intended, UNFINISHED)
            raise
        except Exception as exc:  # whatever it is: a job that was sent must not vanish
            tally.failed(entry, intended, type(exc).__name__)
            return False
        if not is_right:
            tally.failed(entry, intended, WRONG)
            return False
        tally.succeeded(entry, work.nbytes, intended, sent, ended, times=times[-1] if times else None)
        return True

    async def _is_right(self, work: Work, values: Sequence[Any], intended: float) -> bool:
        """Compare the first answer that counts with NumPy's, and then every so-manieth."""
        if not work.expected or intended < 0:
            return True
        self._answers += 1
        if (self._answers - 1) % self._order.check:
            return True
        if work.job.result_bytes >= ASIDE_BYTES:
            is_right = await asyncio.to_thread(work.is_right, values)
        else:
            is_right = work.is_right(values)
        self.tally.checked(intended, is_right=is_right)
        return is_right
