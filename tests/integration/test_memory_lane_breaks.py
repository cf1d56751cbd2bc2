"""Sides of the same-host lane that go, or are hostile: right results or typed errors, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any, TypeAlias

import grpc.aio
import numpy as np
import psutil
import pytest
import pytest_asyncio
from descriptors import sockets
from memory_lane import PAGE, MemoryTraffic, RawSession, raw_connection, raw_session, segments_of
from patience import SECONDS, until
from servers import RunningServer, running_server
from wire import channel_to, open_run, responses

import arraymill as am
from arraymill import _memory_route
from arraymill._shared_lane import SharedLane
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.memory import MESSAGE_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb2
from arraymill_proto.v1 import memory_pb2 as pb

X = np.resize(np.random.default_rng(3).random(10_007), (1500, 700))
"""8 MiB: two blocks."""
ROOTS = np.sqrt(X)

Job: TypeAlias = Callable[[am.AsyncClient], Awaitable[None]]


@pytest_asyncio.fixture
async def onlooker(server: RunningServer) -> AsyncIterator[am.AsyncClient]:
    """A client that shares nothing. In the end all is free, no worker has died, and jobs are computed."""
    async with am.AsyncClient(server.address, shared=False, retry_for=0) as mill:
        before = await mill.info(), sockets(server.pid)
        yield mill
        await wait_idle(mill, server)
        assert np.array_equal(await mill.transform("sqrt", X), ROOTS)
        after = await mill.info()
        assert (after.worker_endings, after.workers) == (before[0].worker_endings, before[0].workers)
        await until(lambda: sockets(server.pid) <= before[1])


async def wait_idle(mill: am.AsyncClient, server: RunningServer) -> None:
    """Wait until no job runs and nothing is shared any more, by the server or a worker."""
    async with asyncio.timeout(SECONDS):
        while True:
            info = await mill.info()
            if not info.running_jobs and info.arena_free_bytes == info.arena_bytes:
                break
            await asyncio.sleep(0.01)
    await until(lambda: not any(map(segments_of, [server.pid, *workers(server)])))


def workers(server: RunningServer) -> list[int]:
    """The children of the fork server."""
    return [worker.pid for child in psutil.Process(server.pid).children() for worker in child.children()]


async def through(mill: am.AsyncClient) -> None:
    assert np.array_equal(await mill.transform("sqrt", X), ROOTS)


async def in_place(mill: am.AsyncClient) -> None:
    x, out = await mill.empty(X.shape), await mill.empty(X.shape)
    x[...], out[...] = X, 0
    assert await mill.transform("sqrt", x, out=out) is out
    assert np.array_equal(out, ROOTS)


# ------------------------------------------------------------------ sides that go

CLIENT = """
import sys
import numpy as np
import arraymill as am

with am.Client(sys.argv[1]) as mill:
    x, out = mill.empty(3_000_000), mill.empty(3_000_000)
    x[:] = 2
    while True:
        mill.compute(np.sqrt(am.asarray(x)), out=out)
        mill.transform("sqrt", np.ones(3_000_000))
        print("done", flush=True)
"""


async def test_a_client_that_is_killed(server: RunningServer, onlooker: am.AsyncClient) -> None:
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, server.address, stdout=PIPE)
    assert client.stdout is not None
    assert await client.stdout.readline() == b"done\n"
    assert len(segments_of(server.pid)) == 3
    client.kill()
    await client.communicate()
    await wait_idle(onlooker, server)


class Scissors:
    """Cuts the socket of a session when so many ranges have been copied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        fill, take = SharedLane.fill, SharedLane.take

        def cutting_fill(lane: SharedLane, message: pb.Fill) -> None:
            self._count(lane)
            fill(lane, message)

        def cutting_take(lane: SharedLane, message: pb.Take) -> None:
            self._count(lane)
            take(lane, message)

        monkeypatch.setattr(SharedLane, "fill", cutting_fill)
        monkeypatch.setattr(SharedLane, "take", cutting_take)

    def _count(self, lane: SharedLane) -> None:
        if not self.left:
            session: Any = lane._session  # pyright: ignore[reportPrivateUsage]
            session._sock.shutdown(socket.SHUT_RDWR)
        self.left -= 1


@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "frames"])
@pytest.mark.parametrize("after", [0, 2, 3])
async def test_a_session_that_is_cut_while_its_job_runs(
    server: RunningServer, onlooker: am.AsyncClient, monkeypatch: pytest.MonkeyPatch, after: int, bulk: bool
) -> None:
    monkeypatch.setattr(_memory_route, "PAUSE_SECONDS", 0.0)
    scissors = Scissors(monkeypatch, after)
    async with am.AsyncClient(server.address, bulk=bulk, retry_for=0) as mill:
        await through(mill)
        assert scissors.left <= 0
        await through(mill)  # with another session


async def test_a_job_that_is_cancelled_anywhere_leaves_nothing(
    server: RunningServer, onlooker: am.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, random = MemoryTraffic(monkeypatch), Random(3)
    async with am.AsyncClient(server.address, retry_for=0) as mill:
        await in_place(mill)
        for job in (through, in_place) * 5:
            running = asyncio.ensure_future(job(mill))
            await asyncio.sleep(random.random() * 0.03)
            running.cancel()
            await asyncio.wait([running])
        await through(mill)
        session: Any = mill._caller._memory._session  # pyright: ignore[reportPrivateUsage]
        assert session._early == session._jobs == {}
    assert traffic.filled > 0


async def test_workers_that_are_killed_while_a_job_runs() -> None:
    """And a server that stops while sessions are open."""
    with running_server("--log-level", "error") as server:
        async with am.AsyncClient(server.address, retry_for=0) as mill:
            for job in (through, in_place):
                running = asyncio.ensure_future(_repeated(job, mill, 3))
                await asyncio.sleep(0.02)
                for pid in workers(server):
                    os.kill(pid, signal.SIGKILL)
                await asyncio.wait_for(running, SECONDS)
            kept = await mill.empty(1000)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.process.wait, SECONDS)
            kept[:] = 1
            del kept
    assert server.process.returncode == 0


async def _repeated(job: Job, mill: am.AsyncClient, times: int) -> None:
    for _ in range(times):
        await job(mill)


async def test_a_server_that_is_killed() -> None:
    with running_server("--log-level", "error", workers=1) as server:
        async with am.AsyncClient(server.address, retry_for=0) as mill:
            await in_place(mill)
            x = await mill.empty(X.shape)
            x[...] = X
            server.process.kill()
            async with asyncio.timeout(SECONDS):
                with pytest.raises(am.ConnectionFailedError):
                    await _repeated(through, mill, 1000)
            assert np.array_equal(x, X), "the memory is still there"
            del x


async def test_more_arrays_at_a_time_than_a_server_makes(server: RunningServer, onlooker: am.AsyncClient) -> None:
    async with am.AsyncClient(server.address, retry_for=0) as mill:
        arrays = await asyncio.gather(*(mill.empty(PAGE, "u1") for _ in range(50)))
        session: Any = mill._caller._memory._session  # pyright: ignore[reportPrivateUsage]
        assert all(session.place(array) for array in arrays)
        arrays.clear()


async def test_many_inputs_at_once(server: RunningServer, onlooker: am.AsyncClient) -> None:
    """Most are asked for before the client hears that its job runs."""
    arrays = [np.full(500, number, "f8") for number in range(300)]
    total = am.asarray(arrays[0])
    for array in arrays[1:]:
        total = total + am.asarray(array)
    async with am.AsyncClient(server.address, retry_for=0) as mill:
        assert (await mill.compute(total, timeout=SECONDS) == sum(range(300))).all()


# ------------------------------------------------------------------ hostile clients


async def path_of(mill: am.AsyncClient) -> str:
    """Where the server shares memory."""
    info = await mill._caller.ready(lambda: None)  # pyright: ignore[reportPrivateUsage]
    return info.memory_paths[0]


WRONG: dict[str, bytes] = {
    "too long": (MESSAGE_BYTES + 1).to_bytes(4, "big"),
    "garbage": b"\0\0\0\x04\xff\xff\xff\xff",
    "the hello again": b"ammem1\n",
    "an unknown segment": b"\0\0\0\x08\x12\x06\x08\xff\xff\xff\xff\x0f",
    "a flood": 200 * b"\0\0\0\x04\x0a\x02\x10\x05",
}


@pytest.mark.parametrize("name", WRONG)
async def test_who_says_what_it_must_not_is_sent_away(
    server: RunningServer, onlooker: am.AsyncClient, name: str
) -> None:
    async with raw_session(await path_of(onlooker)) as client:
        await client.allocated(PAGE)
        await client.say_bytes(WRONG[name])
        assert await client.is_ended()


async def test_what_is_of_no_job_is_passed_over(server: RunningServer, onlooker: am.AsyncClient) -> None:
    async with raw_session(await path_of(onlooker)) as client:
        for number in (0, 1, (1 << 64) - 1):
            await client.say(filled=pb.Filled(job=number, want=number))
            await client.say(taken=pb.Taken(job=number, range=number))
            await client.say(left=pb.Left(job=number))
        await client.allocated(PAGE)


async def test_connections_that_come_and_go(server: RunningServer, onlooker: am.AsyncClient) -> None:
    path = await path_of(onlooker)
    for hello in (b"", b"ammem", b"ammem1\n", b"ammem1\n\0\0\0\4\x0a\x02\x10\x05") * 3:
        async with raw_connection(path) as client:
            await client.say_bytes(hello)


ROOT = Graph((Input(X.shape, X.dtype), Operation("sqrt", (0,))), (1,))
COUNT = X.size


class RawJob:
    """A job whose arrays lie in shared memory."""

    def __init__(self, channel: grpc.aio.Channel, graph: Graph, memory: pb2.SharedMemory) -> None:
        self._call = open_run(channel, SECONDS)
        self._start = pb2.RunRequest(start=pb2.Start(graph=graph_to_pb(graph), memory=memory))

    async def outcome(self) -> str:
        """OK, or the code of its error."""
        await self._call.write(self._start.SerializeToString())
        try:
            async for message in responses(self._call):
                if message.HasField("want"):
                    self._call.cancel()
                    return "WANTED"
                if message.HasField("done"):
                    return "OK"
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "ENDED"


async def outcome(server: RunningServer, graph: Graph, memory: pb2.SharedMemory) -> str:
    async with channel_to(server.address) as channel:
        return await RawJob(channel, graph, memory).outcome()


def placed(index: int, segment: int, offset: int, *strides: int) -> pb2.Placed:
    return pb2.Placed(index=index, segment=segment, offset=offset, strides=strides)


async def test_secrets_of_nobody_give_nothing(server: RunningServer, onlooker: am.AsyncClient) -> None:
    async with raw_session(await path_of(onlooker)) as client:
        number, _ = await client.allocated(X.nbytes)
        for secret in (b"", bytes(32), client.secret[:-1], client.secret + b"x"):
            memory = pb2.SharedMemory(session=secret, inputs=[placed(0, number, 0, 5600, 8)])
            assert await outcome(server, ROOT, memory) == "WANTED", "by frames"


async def test_another_clients_segments_are_not_there(server: RunningServer, onlooker: am.AsyncClient) -> None:
    path = await path_of(onlooker)
    async with raw_session(path) as one, raw_session(path) as other:
        number, _ = await one.allocated(X.nbytes)
        there = [placed(0, number, 0, 5600, 8)]
        assert await outcome(server, ROOT, pb2.SharedMemory(session=other.secret, inputs=there)) == "NOT_FOUND"


HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ([(0, PAGE, 5600, 8)], [], "INVALID_ARGUMENT"),
        ([(0, 0, HUGE, 8)], [], "INVALID_ARGUMENT"),
        ([(0, HUGE, 5600, 8)], [], "INVALID_ARGUMENT"),
        ([(1, 0, 5600, 8)], [], "INVALID_ARGUMENT"),
        ([(0, 0, 5600, 8), (0, 0, 5600, 8)], [], "INVALID_ARGUMENT"),
        ([(0, 0, 5600, 8)], [(0, 4096)], "INVALID_ARGUMENT"),
        ([(0, 0, 5600, 8)], [(0, HUGE)], "INVALID_ARGUMENT"),
        ([(0, 0, 5600, 8)], [(0, 0), (1, 0)], "INVALID_ARGUMENT"),
        ([(0, 0, 5600, 8)], [(0, 0)], "OK"),
        ([(0, 0, 0, 0)], [(0, 0)], "OK"),
        ([(0, 3, 1, 1)], [(0, 1)], "OK"),
    ],
    ids=str,
)
async def test_ranges_beyond_the_end_and_ranges_that_overlap(
    server: RunningServer,
    onlooker: am.AsyncClient,
    inputs: list[tuple[int, ...]],
    outputs: list[tuple[int, ...]],
    expected: str,
) -> None:
    """What overlaps spoils the client's own result only."""
    async with raw_session(await path_of(onlooker)) as client:
        number, _ = await client.allocated(X.nbytes)
        memory = pb2.SharedMemory(
            session=client.secret,
            inputs=[placed(index, number, *rest) for index, *rest in inputs],
            outputs=[placed(index, number, offset) for index, offset in outputs],
        )
        assert await outcome(server, ROOT, memory) == expected


OPERATIONS = ["argmax", "cumsum", "count_nonzero", "std"]


@pytest.mark.parametrize("name", OPERATIONS)
async def test_truth_values_that_are_neither_and_change(
    server: RunningServer, onlooker: am.AsyncClient, name: str
) -> None:
    """Nothing is an index that a client can write: all of it, and the workspace, is noise all the time."""
    graph = Graph((Input((3000, 2000), np.dtype("?")), Operation(name, (0,))), (1,))
    await scribbled(server, onlooker, graph, 3000 * 2000)


async def test_programs_that_are_overwritten(server: RunningServer, onlooker: am.AsyncClient) -> None:
    graph = Graph((Input(X.shape, X.dtype), Operation("sqrt", (0,)), Operation("sum", (1,))), (1, 2))
    for _ in range(3):
        await scribbled(server, onlooker, graph, X.nbytes)


async def scribbled(server: RunningServer, onlooker: am.AsyncClient, graph: Graph, nbytes: int) -> None:
    """Run a job while all that its client can write changes; it ends, whatever it gives."""
    random = Random(5)
    noise = random.randbytes(1 << 16)
    async with raw_session(await path_of(onlooker)) as client, channel_to(server.address) as channel:
        number, segment = await client.allocated(nbytes)
        strides = np.empty(graph.nodes[0].shape, graph.nodes[0].dtype).strides  # type: ignore[union-attr]  # pyright: ignore
        memory = pb2.SharedMemory(session=client.secret, inputs=[placed(0, number, 0, *strides)])
        answering = asyncio.ensure_future(_answer_all(client))
        running = asyncio.ensure_future(RawJob(channel, graph, memory).outcome())
        while not running.done():
            for target in (segment, client.staging):
                at = random.randrange(0, min(len(target), 1 << 20) - len(noise)) if random.random() < 0.7 else 0
                target[at : at + len(noise)] = noise
            await asyncio.sleep(0)
        answering.cancel()
        await asyncio.wait([answering])
        assert running.result() in {"OK", "INTERNAL"}


async def _answer_all(client: RawSession) -> None:
    while True:
        message = await client.heard()
        if message.HasField("fill"):
            await client.say(filled=pb.Filled(job=message.fill.job, want=message.fill.want))
        elif message.HasField("take"):
            await client.say(taken=pb.Taken(job=message.take.job, range=message.take.range))
        elif message.HasField("ended"):
            await client.say(left=pb.Left(job=message.ended.job))
