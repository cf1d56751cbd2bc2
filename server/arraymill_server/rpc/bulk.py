"""The bulk lane: array bytes on a plain socket beside the gRPC stream of their job.

gRPC's Python copies what it receives three times and needs a wake-up per message; here the kernel writes straight into
the arena and reads straight from it. A job offers its lane with a secret; whoever says that secret on a new connection
is the job's client. `DESIGN.md` of the contract has the bytes.

A lane that breaks takes no job with it as long as no result has travelled on it: what was asked for is asked for again,
and comes by frames. How far results came nobody knows, so there the job ends with an error that a retry can mend.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Final, Protocol

from arraymill_proto.bulk import HEADER_BYTES, Record, decode_header, encode_header
from arraymill_proto.checksums import checksum
from arraymill_proto.errors import CorruptedError
from arraymill_proto.limits import FRAME_BYTES, RECORD_BYTES
from arraymill_server.jobs.exchange import Outgoing
from arraymill_server.log import get_logger

PIECE_BYTES: Final = 1 << 20
"""Most bytes between two looks at what else there is to do: some 0.2 ms of copying."""

SCRATCH_BYTES: Final = 64 << 10
"""What a connection may take beside the arena, for data that nobody needs."""

_log = get_logger(__name__)


class BulkJob(Protocol):
    """A job, as its bulk connection sees it. No method blocks."""

    def bulk_opened(self, connection: BulkConnection) -> None:
        """The client has come."""
        ...

    def claim(self, record: Record) -> memoryview | None:
        """Return where a record belongs, None when nobody needs it; FrameError when it fits nothing."""
        ...

    def arrived(self, record: Record) -> None:
        """A claimed record is there."""
        ...

    def sent(self, outgoing: Outgoing, token: int) -> None:
        """A range of a result has left the arena."""
        ...

    def moved(self, nbytes: int) -> None:
        """Bytes have gone either way."""
        ...

    def bulk_failed(self, error: Exception) -> None:
        """The client sends what it must not."""
        ...

    def bulk_lost(self, connection: BulkConnection) -> None:
        """The connection has ended, for whatever reason."""
        ...


class BulkConnection:
    """One job's connection. Serves until either side ends it.

    Args:
        sock: Connected, non-blocking; the caller closes it.
        job: The job.
    """

    def __init__(self, sock: socket.socket, job: BulkJob) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._job = job
        self._queue: deque[tuple[Outgoing, int]] = deque()
        self._news = asyncio.Event()
        self.has_sent = False
        """True as soon as a byte of a result may have left."""
        self._header = memoryview(bytearray(HEADER_BYTES))
        self._record: Record | None = None
        """Whose data is arriving; None: a header is."""
        self._target: memoryview | None = None
        """Where it goes; None: nobody needs it."""
        self._scratch = memoryview(b"")
        """For data that nobody needs; none until there is such."""
        self._needless = 0
        """Bytes of it that belong nowhere and have not been asked of the kernel."""
        self._rest = self._header
        """Where the next bytes go."""
        self._reading: asyncio.Future[None] = self._loop.create_future()
        """Fails when nothing more can be read."""
        self._sending = asyncio.ensure_future(self._send())
        self._loop.add_reader(sock, self._read)

    def __repr__(self) -> str:
        return f"<BulkConnection: {len(self._queue)} results waiting{', results sent' if self.has_sent else ''}>"

    @property
    def is_sending(self) -> bool:
        """Whether results wait for the client to read."""
        return bool(self._queue)

    async def serve(self) -> None:
        """Carry records in both directions until the connection or the job ends."""
        try:
            await asyncio.wait((self._reading, self._sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.close()
            try:
                for ended in await asyncio.gather(self._reading, self._sending, return_exceptions=True):
                    if isinstance(ended, CorruptedError):
                        _log.warning("bulk bytes corrupted", error=ended.message)  # they are wanted again, as frames
                    elif isinstance(ended, Exception) and not isinstance(ended, (OSError, EOFError)):
                        self._job.bulk_failed(ended)
            finally:
                self._job.bulk_lost(self)

    def close(self) -> None:
        """Touch no memory of the job any more; from now on, not from the next turn of the loop on. Call it any time."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
        self._reading.cancel()
        self._sending.cancel()

    def send(self, outgoing: Outgoing, token: int) -> None:
        """Queue a range of a result; the job hears when it is `sent`."""
        self._queue.append((outgoing, token))
        self._news.set()

    def unsent(self) -> list[tuple[Outgoing, int]]:
        """Return what is queued, for another lane."""
        return list(self._queue)

    # ------------------------------------------------------------------ inside

    def _read(self) -> None:
        """Take what is there, some of it in each turn of the loop.

        All of it: of a connection that was reset uvloop tells once, whatever lies before the error.
        """
        if self._reading.done():
            return
        try:
            self._read_piece()
            self._loop.call_soon(self._read)
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:
            self._loop.remove_reader(self._sock)
            if not self._reading.done():
                self._reading.set_exception(error)

    def _read_piece(self) -> None:
        """Read as much as one turn may.

        Raises:
            BlockingIOError: There is no more.
        """
        left = PIECE_BYTES
        while left and not self._reading.done():
            room = self._rest[:left]
            count = self._sock.recv_into(room)
            if not count:
                raise EOFError("the connection has ended")
            left -= count
            self._rest = self._rest[count:]
            if self._target is not None:
                self._job.moved(count)
            if not self._rest:
                self._filled()

    def _filled(self) -> None:
        """What was waited for is there: the next record, or its data."""
        record, target = self._record, self._target
        if record is None:
            record = decode_header(bytes(self._header))
            self._begin_data(record, self._job.claim(record))
        elif target is None:
            self._discard()
        else:
            self._begin_header()
            record.verify(target)
            self._job.arrived(record)

    def _begin_header(self) -> None:
        self._record, self._target, self._rest = None, None, self._header

    def _begin_data(self, record: Record, target: memoryview | None) -> None:
        self._record, self._target = record, target
        if target is not None:
            self._rest = target
        else:
            self._needless = record.length
            self._scratch = self._scratch or memoryview(bytearray(SCRATCH_BYTES))
            self._discard()

    def _discard(self) -> None:
        """Go on with data that nobody needs."""
        piece = min(self._needless, SCRATCH_BYTES)
        self._needless -= piece
        if piece:
            self._rest = self._scratch[:piece]
        else:
            self._begin_header()

    async def _send(self) -> None:
        while True:
            while self._queue:
                outgoing, token = self._queue[0]
                await self._send_range(outgoing)
                self._queue.popleft()
                self._job.sent(outgoing, token)
            self._news.clear()
            await self._news.wait()

    async def _send_range(self, outgoing: Outgoing) -> None:
        """Send in pieces as small as frames: a client that reads as slowly as it may there moves often enough here."""
        self.has_sent = True
        data = outgoing.data
        for output in outgoing.outputs:
            for start in range(0, len(data), RECORD_BYTES):
                await self._send_record(output, outgoing.offset + start, data[start : start + RECORD_BYTES])

    async def _send_record(self, output: int, offset: int, data: memoryview) -> None:
        record = Record(0, output, offset, len(data), checksum(data))
        await self._loop.sock_sendall(self._sock, encode_header(record))
        for start in range(0, len(data), FRAME_BYTES):
            await asyncio.sleep(0)  # before: once the last byte has left, the client may end the connection
            piece = data[start : start + FRAME_BYTES]
            await self._loop.sock_sendall(self._sock, piece)
            self._job.moved(len(piece))


async def fill(sock: socket.socket, target: memoryview) -> None:
    """Receive exactly as many bytes as there is room for.

    Args:
        sock: Non-blocking.
        target: Where to; some bytes.

    Raises:
        EOFError: The peer has ended the connection before.
        OSError: The connection broke.
    """
    loop = asyncio.get_running_loop()
    while target:
        count = await loop.sock_recv_into(sock, target)
        if not count:
            raise EOFError("the connection has ended")
        target = target[count:]
