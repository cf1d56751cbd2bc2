"""Sends the jobs of one generator in one step, in a closed or an open loop.

In a closed loop each client sends its next job when it has the answer to the last one: a slow server slows the clients
down, and what they then do not send nobody measures. In an open loop jobs are sent at times that were fixed before;
latency counts from these, so that a job which could not be sent in time, or had to wait behind others, has waited.

A client whose job failed waits for `PAUSE_SECONDS` in a closed loop: a server that is gone would otherwise be asked a
thousand times per second. An open loop goes on at its rate.

When the time of a step is over, jobs that are under way may still end for `DRAIN_SECONDS`. Those that do not are
cancelled, and counted as unfinished, as are jobs that could not be sent at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

from arraymill.load._clients import LoadClient
from arraymill.load._schedule import Arrival, Share, arrivals, choices
from arraymill.load._tally import UNFINISHED, WRONG, Tally
from arraymill.load._work import Work
from arraymill_proto.errors import ArraymillError
from arraymill_proto.v1 import arraymill_pb2 as pb

PAUSE_SECONDS: Final = 0.1
DRAIN_SECONDS: Final = 10.0

MAX_UNDER_WAY: Final = 20_000
"""Jobs of a generator in an open loop that have no answer: some 10 KB each. Later ones are sent when there is room, and
their wait counts."""

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
        self._ended = 0
        self._under_way = set[asyncio.Task[Any]]()
        self._room = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the step now."""
        self._stopping.set()

    async def run(self) -> None:
        """Send, until the time or the count is over or `stop` is called, and wait for answers."""
        order = self._order
        if order.rate is None:
            sending = self._closed()
        else:
            times = arrivals(order.rate, order.arrival, order.share, order.seed, -order.warm_up)
            sending = self._open(self._meant(times))
        await self._until_over(sending)
        left = {task for task in self._under_way if not task.done()}
        if left:
            await asyncio.wait(left, timeout=min(DRAIN_SECONDS, order.timeout))
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    @property
    def _now(self) -> float:
        return self._loop.time() - self._order.begin

    async def _until_over(self, sending: Coroutine[Any, Any, None]) -> None:
        """Let somebody send until the step is over."""
        sender, stopping = asyncio.ensure_future(sending), asyncio.ensure_future(self._stopping.wait())
        end = None if self._order.seconds is None else max(0.0, self._order.seconds - self._now)
        try:
            await asyncio.wait({sender, stopping}, timeout=end, return_when=asyncio.FIRST_COMPLETED)
            if self._order.rate is not None and not self._stopping.is_set():
                await asyncio.wait({sender, stopping}, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                self.tally.end = min(self.tally.end, max(self._now, 0.0))
            self._stopping.set()
            if sender.done():
                sender.result()
        finally:
            sender.cancel()
            stopping.cancel()
            await asyncio.gather(sender, stopping, return_exceptions=True)

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
        while not self._stopping.is_set() and ((now := self._now) < 0 or self._takes_one()):
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

    async def _open(self, times: Iterator[float]) -> None:
        """Send at the given times; what could not be sent when this is cancelled has not ended either."""
        clients, intended = cycle(self._clients), 0.0
        try:
            for intended in times:
                # Also where it is late: what has come meanwhile must be read, and a job is sent when it is scheduled.
                await asyncio.sleep(max(0.0, intended - self._now))
                while len(self._under_way) >= MAX_UNDER_WAY:
                    self.was_full = True
                    self._room.clear()
                    await self._room.wait()
                entry = next(self._choices)
                self._begin(self._do(next(clients), entry, intended))
        except asyncio.CancelledError:
            self._give_up(intended, times)
            raise

    def _give_up(self, intended: float, times: Iterator[float]) -> None:
        """Count the jobs that were meant to be sent until the end of the step, and were not."""
        while 0 <= intended < self.tally.end:
            self.tally.meant += 1
            self.tally.failed(next(self._choices), intended, UNFINISHED)
            intended = next(times, float("inf"))

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._room.set()

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
        except (ArraymillError, MemoryError, OSError) as exc:
            tally.failed(entry, intended, type(exc).__name__)
            return False
        except asyncio.CancelledError:
            tally.failed(entry, intended, UNFINISHED)
            raise
        if not is_right:
            tally.failed(entry, intended, WRONG)
            return False
        tally.succeeded(entry, work.nbytes, intended, sent, ended, times=times[-1] if times else None)
        return True

    async def _is_right(self, work: Work, values: Sequence[Any], intended: float) -> bool:
        """Compare every so-manieth answer with NumPy's."""
        self._ended += 1
        if not work.expected or self._ended % self._order.check:
            return True
        if work.job.result_bytes >= ASIDE_BYTES:
            is_right = await asyncio.to_thread(work.is_right, values)
        else:
            is_right = work.is_right(values)
        self.tally.checked(intended, is_right=is_right)
        return is_right
