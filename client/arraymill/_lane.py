"""What one job makes of the bulk lane: a connection where the server offers one, frames where it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from arraymill._bulk import OPEN_SECONDS, BulkLink, BulkRoute
from arraymill._sink import ResultSink
from arraymill._source import ArraySource
from arraymill_proto.bulk import Record
from arraymill_proto.checksums import checksum
from arraymill_proto.errors import ArraymillError, ConnectionFailedError
from arraymill_proto.limits import RECORD_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb


class Lane:
    """One job's use of the bulk lane. Make it in a running event loop; `close` it when its `tasks` have ended.

    Args:
        route: The way to the server's bulk lane; None: the job asks for none.
    """

    def __init__(self, route: BulkRoute | None) -> None:
        self._route = route
        self._link: BulkLink | None = None
        self._linking: asyncio.Task[None] | None = None
        self._sinks: Sequence[ResultSink] = ()
        self._announced = asyncio.Event()
        self._is_job_done = False
        self._is_refused = False
        """True when there was time for a connection, and none could be had."""
        self._has_ended = False
        """True when the server says that the connection has ended."""
        self.garbled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when the server sends on the connection what it must not."""

    @property
    def is_wanted(self) -> bool:
        """Whether the job asks for a connection."""
        return self._route is not None

    @property
    def has_linked(self) -> bool:
        """Whether there is a connection, or was."""
        return self._link is not None

    @property
    def is_open(self) -> bool:
        """Whether wants can be answered here."""
        return self._link is not None and self._link.is_open

    @property
    def tasks(self) -> Sequence[asyncio.Future[Any]]:
        """What has to be cancelled, and awaited, at the end."""
        return [self.garbled] if self._linking is None else [self.garbled, self._linking]

    @contextmanager
    def judged(self) -> Generator[None]:
        """Pause the lane when the job could not have it, or broke with it: the next try goes by frames.

        A job that failed otherwise tells nothing: its server may have withdrawn the offer.
        """
        try:
            yield
        except ConnectionFailedError:
            if self._route is not None and self._link is not None:
                self._route.pause()
            raise
        if self._route is not None and (self._is_refused or self._has_ended):
            self._route.pause()

    # ------------------------------------------------------------------ what the stream tells

    def offered(self, bulk: pb.Bulk) -> None:
        """The server offers a connection: open it. The first offer counts."""
        if self._route is not None and self._linking is None:
            self._linking = asyncio.ensure_future(self._use(self._route, bulk))

    def announced(self, sinks: Sequence[ResultSink]) -> None:
        """The server has said what the results are."""
        self._sinks = sinks
        self._announced.set()

    def ended(self) -> None:
        """The server says that the connection has ended: use it no more, even if it is not open yet."""
        self._has_ended = True
        if self._link is not None:
            self._link.end()

    def job_done(self) -> None:
        """A connection that is refused from now on came too late: nobody's fault."""
        self._is_job_done = True

    # ------------------------------------------------------------------ arrays

    async def answer(self, want: pb.Want, source: ArraySource, sent: int = 0) -> None:
        """Send what a want asks for; what does not arrive because the connection breaks is wanted again.

        Args:
            want: The want.
            source: Of the array.
            sent: Bytes of it that are on their way.
        """
        assert self._link is not None
        try:
            for offset, data in source.frames(want.offset + sent, want.length - sent, RECORD_BYTES):
                await self._link.send(Record(want.want, want.index, offset, len(data), checksum(data)), data)
        except OSError:
            self._link.end()

    async def rest(self) -> bool:
        """Wait for results that are still on the connection when the job has ended.

        Returns:
            False when some were lost with it.

        Raises:
            ArraymillError: The server sends what it must not.
        """
        if self._linking is None or all(sink.is_complete for sink in self._sinks):
            return True
        await asyncio.wait([self._linking], timeout=OPEN_SECONDS if self._link is None else None)
        if self.garbled.done():
            self.garbled.result()
        return all(sink.is_complete for sink in self._sinks)

    def close(self) -> None:
        """Give the socket back."""
        if self._link is not None:
            self._link.close()

    # ------------------------------------------------------------------ inside

    async def _use(self, route: BulkRoute, bulk: pb.Bulk) -> None:
        """Open the connection, and place the results that come by it."""
        self._link = await route.open(bulk.port, bulk.secret)
        if self._link is None:
            self._is_refused = not self._is_job_done
            return
        if self._has_ended:  # the server was faster to notice
            self._link.end()
        try:
            await self._link.receive_into(self._results)
        except ArraymillError as exc:
            self.garbled.set_exception(exc)
        finally:
            self._link.end()

    async def _results(self) -> Sequence[ResultSink]:
        await self._announced.wait()
        return self._sinks
