"""One job's bulk connection: every byte in its place, and none touched after the job's end, on both event loops."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from random import Random
from typing import Any, TypeAlias

import pytest
from patience import turns, until
from wire import BulkStream, record_bytes

from arraymill_proto.bulk import Record
from arraymill_proto.errors import FrameError
from arraymill_proto.limits import RECORD_BYTES
from arraymill_server.jobs.exchange import Outgoing
from arraymill_server.rpc import bulk
from arraymill_server.rpc.bulk import BulkConnection

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]

PATTERN = 0xA5
UNNEEDED = 7
"""The want of records that nobody needs."""


class Job:
    """A job that notes what it is told; records belong where their offset says."""

    def __init__(self, nbytes: int = 0) -> None:
        self.memory = memoryview(bytearray(nbytes))
        self.came: list[Record] = []
        self.tokens: list[int] = []
        self.errors: list[Exception] = []
        self.moves = 0
        self.lost: list[BulkConnection] = []

    def bulk_opened(self, connection: BulkConnection) -> None:
        raise AssertionError("the listener says that")

    def claim(self, record: Record) -> memoryview | None:
        if record.end > len(self.memory):
            raise FrameError("beyond the end")
        return None if record.want == UNNEEDED else self.memory[record.offset : record.end]

    def arrived(self, record: Record) -> None:
        self.came.append(record)

    def sent(self, outgoing: Outgoing, token: int) -> None:
        self.tokens.append(token)

    def moved(self, nbytes: int) -> None:
        self.moves += 1

    def bulk_failed(self, error: Exception) -> None:
        self.errors.append(error)

    def bulk_lost(self, connection: BulkConnection) -> None:
        self.lost.append(connection)


class Line:
    """A connection that is served, and its other end: a stream, or a socket to be used without yielding."""

    def __init__(self, near: socket.socket, far: socket.socket, job: Job) -> None:
        near.setblocking(False)
        self.far = far
        self.connection = BulkConnection(near, job)
        self.serving = asyncio.ensure_future(self.connection.serve())

    async def ended(self) -> None:
        async with asyncio.timeout(20):
            await self.serving


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        return listening.accept()[0], far


@asynccontextmanager
async def line_to(job: Job) -> AsyncGenerator[Line]:
    near, far = tcp_pair()
    with near, far:
        line = Line(near, far, job)
        try:
            yield line
        finally:
            line.connection.close()
            await line.ended()
    assert job.lost == [line.connection], "the job hears of the end, once"


@asynccontextmanager
async def stream_to(job: Job) -> AsyncGenerator[tuple[Line, BulkStream]]:
    async with line_to(job) as line:
        reader, writer = await asyncio.open_connection(sock=line.far.dup())
        try:
            yield line, BulkStream(reader, writer)
        finally:
            writer.transport.abort()


# ------------------------------------------------------------------ receiving


def test_records_cut_anywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PIECE_BYTES", 100)
    monkeypatch.setattr(bulk, "SCRATCH_BYTES", 64)
    random = Random(5)
    data = random.randbytes(5000)
    cuts = [0, *sorted(random.sample(range(1, 5000), 30)), 5000]
    records = [Record(1, 0, start, end - start) for start, end in pairwise(cuts)]
    unneeded = record_bytes(UNNEEDED, 0, 0, bytes(1000))
    stream = b"".join(record_bytes(1, 0, it.offset, data[it.offset : it.end]) + unneeded for it in records)

    async def main() -> None:
        job = Job(5000)
        async with stream_to(job) as (_, client):
            place = 0
            while place < len(stream):
                size = random.choice((1, 7, 31, 32, 33, 500, 3000))
                await client.say(stream[place : place + size])
                await turns(3)
                place += size
            await until(lambda: len(job.came) == len(records))
            assert job.came == records
            assert bytes(job.memory) == data
            assert job.moves >= 5000 / 100
        assert not job.errors

    run(main())


@pytest.mark.parametrize("said", [record_bytes(1, 0, 90, bytes(20)), record_bytes(1, 0, 0, bytes(9), flags=2)])
def test_what_fits_nothing_is_the_jobs_error(run: Run, said: bytes) -> None:
    async def main() -> None:
        job = Job(100)
        async with stream_to(job) as (line, client):
            await client.say(record_bytes(1, 0, 0, b"first") + said + record_bytes(1, 0, 50, b"never"))
            await line.ended()
            assert [type(error) for error in job.errors] == [FrameError]
            assert bytes(job.memory).rstrip(b"\0") == b"first"

    run(main())


@pytest.mark.parametrize("said", [b"", bytes(5), record_bytes(1, 0, 0, b"half", length=9), record_bytes(1, 0, 0, b"a")])
def test_a_client_that_goes(run: Run, said: bytes) -> None:
    async def main() -> None:
        job = Job(100)
        async with stream_to(job) as (line, client):
            await client.say(said)
            line.far.shutdown(socket.SHUT_WR)
            await line.ended()
        assert not job.errors
        assert len(job.came) == (said == record_bytes(1, 0, 0, b"a"))

    run(main())


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("said", [b"", bytes(5), record_bytes(1, 0, 0, b"half", length=9), record_bytes(1, 0, 0, b"a")])
def test_a_connection_that_is_reset(run: Run, monkeypatch: pytest.MonkeyPatch, said: bytes, piece: int) -> None:
    """Also while bytes lie there that nobody has read: uvloop tells of it once."""
    monkeypatch.setattr(bulk, "PIECE_BYTES", piece)

    async def main() -> None:
        job = Job(100)
        async with line_to(job) as line:
            await turns(3)
            line.far.sendall(said)
            line.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.far.close()
            await line.ended()
        assert not job.errors
        assert job.lost == [line.connection]

    run(main())


def test_a_defect_of_the_job_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("broken on purpose")

    async def main() -> None:
        job = Job(100)
        monkeypatch.setattr(job, "arrived", broken)
        async with stream_to(job) as (line, client):
            await client.say(record_bytes(1, 0, 0, b"a"))
            await line.ended()
        assert [type(error) for error in job.errors] == [ZeroDivisionError]

    run(main())


# ------------------------------------------------------------------ sending


def test_ranges_of_results(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "FRAME_BYTES", 1000)

    async def main() -> None:
        job = Job()
        async with stream_to(job) as (line, client):
            assert repr(line.connection) == "<BulkConnection: 0 results waiting>"
            data = Random(1).randbytes(5500)
            line.connection.send(Outgoing((0, 3), 100, memoryview(data)), 11)
            line.connection.send(Outgoing((1,), 2**40, memoryview(b"last")), 12)
            assert [token for _, token in line.connection.unsent()] == [11, 12]
            assert [line.connection.is_sending, line.connection.has_sent] == [True, False]
            for expected in ((0, 100, data), (3, 100, data), (1, 2**40, b"last")):
                assert await client.record() == expected
            await until(lambda: job.tokens == [11, 12])
            assert [line.connection.is_sending, line.connection.has_sent] == [False, True]
            assert repr(line.connection) == "<BulkConnection: 0 results waiting, results sent>"
            assert job.moves >= 2 * 5500 / 1000
        assert not job.errors

    run(main())


def test_both_directions_at_once(run: Run) -> None:
    """Neither waits for the other, however much the other has to say."""
    data = Random(2).randbytes(12 << 20)

    async def main() -> None:
        job = Job(len(data))
        async with stream_to(job) as (line, client):
            line.connection.send(Outgoing((0,), 0, memoryview(data)), 1)
            sending = asyncio.ensure_future(client.say(record_bytes(1, 0, 0, data)))
            await until(lambda: bool(job.came))
            await sending
            assert bytes(job.memory) == data
            records = [await client.record() for _ in range(0, len(data), RECORD_BYTES)]
            assert [offset for _, offset, _ in records] == list(range(0, len(data), RECORD_BYTES))
            assert b"".join(piece for _, _, piece in records) == data
            await until(lambda: job.tokens == [1])

    run(main())


# ------------------------------------------------------------------ after the end


def test_after_the_end_no_byte_of_the_memory_is_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the connection is in receiving a record: bytes wait in the kernel all the time, and more come."""
    monkeypatch.setattr(bulk, "PIECE_BYTES", 1000)
    states: set[str] = set()

    async def close_after(count: int) -> None:
        job = Job(12_000)
        async with line_to(job) as line:
            line.far.sendall(record_bytes(1, 0, 0, bytes(10_000), length=12_000))
            await turns(count)
            states.add("half" if 0 < job.moves < 10 else "all that was sent" if job.moves else "nothing")
            line.far.sendall(bytes(1000))  # may be in the loop's next poll already
            line.connection.close()
            job.memory[:] = bytes([PATTERN]) * 12_000
            line.far.sendall(bytes(1000) + record_bytes(1, 0, 0, bytes(5000)))
            await line.ended()
            await turns(10)
            assert set(job.memory) == {PATTERN}
        assert not job.came

    async def main() -> None:
        for count in range(40):
            await close_after(count)

    run(main())
    assert states == {"nothing", "half", "all that was sent"}


def read_what_came(far: socket.socket) -> bytes:
    far.setblocking(False)
    said = b""
    with suppress(BlockingIOError):
        while True:
            said += far.recv(1 << 20)
    far.setblocking(True)
    return said


def test_after_the_end_no_byte_of_the_memory_is_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "RECORD_BYTES", 1 << 30)
    data = bytearray(b"a") * (16 << 20)

    async def main() -> None:
        job = Job()
        near, far = tcp_pair()
        with near, far:
            line = Line(near, far, job)
            line.connection.send(Outgoing((0,), 0, memoryview(data)), 1)
            await until(lambda: job.moves > 0)
            await asyncio.sleep(0.05)
            assert line.connection.is_sending, "the kernel took all of it: nothing would be shown"
            said = read_what_came(far)  # now there is room: the loop's next poll will tell
            line.connection.close()
            data[:] = b"z" * len(data)
            await line.ended()
            near.close()
            said += await asyncio.to_thread(lambda: b"".join(iter(lambda: far.recv(1 << 20), b"")))
        assert BulkStream.HEADER.size < len(said) < len(data)
        assert set(said[BulkStream.HEADER.size :]) == {ord("a")}
        assert not job.tokens

    run(main())


def test_a_connection_that_is_ended_before_it_begins(run: Run) -> None:
    async def main() -> None:
        job = Job(100)
        near, far = tcp_pair()
        with near, far:
            near.setblocking(False)
            far.sendall(record_bytes(1, 0, 0, bytes(100)))
            connection = BulkConnection(near, job)
            connection.close()
            job.memory[:] = bytes([PATTERN]) * 100
            await connection.serve()
        assert set(job.memory) == {PATTERN}
        assert job.lost == [connection]

    run(main())
