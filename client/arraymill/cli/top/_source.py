"""Asks a server again and again, and tells what there is to be shown."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from arraymill import AsyncClient
from arraymill.cli.top._meter import Meter, Sample, View
from arraymill_proto.errors import ArraymillError

MOST_JOBS: Final = 50
"""As many as most terminals have lines; each costs the server 20 us."""


class Source:
    """Asks a server in intervals.

    Args:
        mill: Its client, which tries nothing again by itself.
        server: Its address.
        interval: Seconds from one question to the next.
        patience: Seconds that an answer may take.
    """

    def __init__(self, mill: AsyncClient, server: str, interval: float, patience: float) -> None:
        self._mill = mill
        self._interval = interval
        self._patience = patience
        self._meter = Meter(server)
        self._asking: asyncio.Task[Sample] | None = None
        self._due = 0.0
        """When to ask next."""

    async def answer(self) -> View:
        """Wait until it is time, and for the answer.

        Raises:
            ArraymillError: There is none.
        """
        await self._turn()
        return self._meter.add(await self._ask())

    async def next(self) -> View:
        """Wait until it is time, and return what there is to be shown then: a view without anything new, at worst."""
        await self._turn()
        asking = self._asking = self._asking or asyncio.ensure_future(self._ask())
        await asyncio.wait([asking], timeout=self._interval)
        if not asking.done():
            return self._meter.trouble(monotonic(), "no answer yet")
        self._asking = None
        try:
            return self._meter.add(asking.result())
        except ArraymillError as exc:
            return self._meter.trouble(monotonic(), str(exc))

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _turn(self) -> None:
        """Wait until it is time to ask."""
        await asyncio.sleep(max(self._due - monotonic(), 0.0))
        self._due = monotonic() + self._interval

    async def _ask(self) -> Sample:
        begin = monotonic()
        info = await self._mill.info(timeout=self._patience)
        end = monotonic()
        jobs = await self._mill.jobs(ended=False, limit=MOST_JOBS + 1, timeout=self._patience)
        return Sample(begin, end, info, jobs[:MOST_JOBS], has_more_jobs=len(jobs) > MOST_JOBS)
