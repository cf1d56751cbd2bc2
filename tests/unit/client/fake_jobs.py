"""A server that also keeps submitted jobs: by key, fed over streams that come and go, watched and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import numpy as np
from numpy.typing import NDArray
from unit.client.fake_server import Context, FakeServer, Session, fail, inline_array

from arraymill_proto.codec import graph_from_pb
from arraymill_proto.errors import (
    ArraymillError,
    InvalidJobError,
    JobEndedError,
    JobKeyError,
    JobNotFoundError,
    JobTakenError,
    ParameterError,
)
from arraymill_proto.graph import Graph, Input
from arraymill_proto.v1 import arraymill_pb2 as pb

PIECE: Final = 1000
"""Bytes of a want."""

ENDS: Final = (pb.JOB_SUCCEEDED, pb.JOB_FAILED, pb.JOB_CANCELLED, pb.JOB_EXPIRED)


@dataclass(eq=False)
class FakeJob:
    """A submitted job."""

    message: pb.Job
    request: pb.SubmitJobRequest
    pieces: dict[tuple[int, int], bytes] = field(default_factory=dict[tuple[int, int], bytes])
    """What has come, by input and offset."""
    feeder: asyncio.Event | None = None
    """Set when another client takes the place of the one that feeds it."""
    feeds: int = 0
    executed: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def graph(self) -> Graph:
        return graph_from_pb(self.request.graph)

    @property
    def has_ended(self) -> bool:
        return self.message.state in ENDS

    @property
    def has_its_input(self) -> bool:
        return self.message.received_bytes == self.message.input_bytes

    def now(self, **fields: Any) -> None:
        """Change the description, and tell all who wait for that."""
        for name, value in fields.items():
            setattr(self.message, name, value)
        self.changed.set()
        self.changed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait for the end."""
        try:
            async with asyncio.timeout(seconds):
                while not self.has_ended:
                    await self.changed.wait()
        except TimeoutError:
            pass


class FakeJobServer(FakeServer):
    """Keeps submitted jobs as well.

    Attributes:
        jobs: By id.
        is_held: Jobs stay queued, whatever they have.
        knows_open_only: It lists only those that have not ended, if asked to.
        cuts: Streams that feed a job break after so many wants; the next one takes the next number.
        halts: Streams that feed a job want no more after so many wants, as if those who feed it were dead.
        on_wait: Called when GetJob is asked to wait for the end of a job.
        watch_cuts: Streams that watch a job break after so many messages; below 0: they end, without an error.
        watch_raw: What replaces the messages of streams that watch.
        waits: The seconds that GetJob was asked to wait.
        waiting: Set when it was.
        answering: While it is not set, GetJob does not answer.
        admitting: While it is not set, SubmitJob does not answer, though it has done its work.
        submitted: Set when it has.
        deleted: Set when DeleteJob has done its.
    """

    def __init__(self) -> None:
        super().__init__()
        self.info.max_wait_seconds = 60
        self.jobs: dict[str, FakeJob] = {}
        self._made = 0
        self.is_held = False
        self.knows_open_only = True
        self.cuts: list[int] = []
        self.halts: list[int] = []
        self.on_wait: Callable[[FakeJob], None] = lambda _: None
        self.watch_cuts: list[int] = []
        self.watch_raw = b""
        self.waits: list[float] = []
        self.waiting = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()
        self.admitting = asyncio.Event()
        self.admitting.set()
        self.submitted = asyncio.Event()
        self.deleted = asyncio.Event()

    async def replace(self) -> None:
        """Let another server take the place of this one: it has no jobs and no arrays."""
        await self.stop()
        self.jobs.clear()
        self.arrays.clear()
        self._made += 1000
        await self.start()

    def handlers(self) -> dict[str, Any]:
        unary = {
            "SubmitJob": self._submit_slowly,
            "GetJob": self._get,
            "ListJobs": self._list_jobs,
            "CancelJob": self._cancel,
            "DeleteJob": self._delete_job,
        }
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(self.unary(name, method)) for name, method in unary.items()
        }
        return {**super().handlers(), **handlers, "WatchJob": grpc.unary_stream_rpc_method_handler(self._watch)}

    @property
    def job(self) -> FakeJob:
        """The only job."""
        (job,) = self.jobs.values()
        return job

    # ------------------------------------------------------------------ methods

    def _known(self, id: str) -> FakeJob:
        if id not in self.jobs:
            raise JobNotFoundError(f"no submitted job {id!r}", job=id)
        return self.jobs[id]

    async def _submit_slowly(self, serialized: bytes) -> pb.Job:
        message = await self._submit(serialized)
        self.submitted.set()
        await self.admitting.wait()
        return message

    async def _submit(self, serialized: bytes) -> pb.Job:
        request = pb.SubmitJobRequest.FromString(serialized)
        assert request.key, "the client always gives a key"
        for job in self.jobs.values():
            if job.request.key == request.key:
                if _without_orders(job.request.graph) != _without_orders(request.graph):
                    raise JobKeyError(f"the key {request.key!r} is that of job {job.message.id}")
                return job.message
        id = f"job{self._made}"
        self._made += 1
        job = self.jobs[id] = FakeJob(pb.Job(id=id, key=request.key, state=pb.JOB_QUEUED), request)
        nodes = [node for node in job.graph.nodes if isinstance(node, Input)]
        job.message.input_bytes = sum(_nbytes(node) for node in nodes if node.inline is None)
        job.message.priority = request.priority if request.HasField("priority") else 5
        job.message.deadline_in_seconds = request.deadline_seconds
        job.message.blocks = 10
        if not job.message.input_bytes and not self.is_held:
            self.execute(job)
        return job.message

    async def _get(self, serialized: bytes) -> pb.Job:
        request = pb.GetJobRequest.FromString(serialized)
        await self.answering.wait()
        job = self._known(request.id)
        if request.wait_seconds:
            self.waits.append(request.wait_seconds)
            self.waiting.set()
            self.on_wait(job)
            if request.wait_seconds > self.info.max_wait_seconds:
                raise ParameterError(f"wait_seconds is {request.wait_seconds}")
            await job.wait(request.wait_seconds)
        return job.message

    async def _watch(self, serialized: bytes, context: Context) -> AsyncGenerator[bytes, None]:
        self.calls["WatchJob"] += 1
        left = self.watch_cuts.pop(0) if self.watch_cuts else 1 << 30
        try:
            job = self._known(pb.WatchJobRequest.FromString(serialized).id)
        except ArraymillError as exc:
            await fail(context, exc)
        for _ in range(abs(left)):
            changed, is_last = job.changed, job.has_ended
            yield self.watch_raw or job.message.SerializeToString()
            if is_last:
                return
            await changed.wait()
        if left >= 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    def _list_jobs(self, serialized: bytes) -> pb.ListJobsResponse:
        """Pages of two."""
        request = pb.ListJobsRequest.FromString(serialized)
        first = int(request.page_token or 0)
        is_open_only = request.open_only and self.knows_open_only
        jobs = [job.message for job in self.jobs.values() if not (is_open_only and job.has_ended)]
        token = str(first + 2) if first + 2 < len(jobs) else ""
        return pb.ListJobsResponse(jobs=jobs[first : first + 2], next_page_token=token)

    def _cancel(self, serialized: bytes) -> pb.Job:
        job = self._known(pb.CancelJobRequest.FromString(serialized).id)
        if job.has_ended and job.message.state != pb.JOB_CANCELLED:
            raise JobEndedError(f"job {job.message.id} has ended already", job=job.message.id)
        job.now(state=pb.JOB_CANCELLED)
        return job.message

    def _delete_job(self, serialized: bytes) -> pb.DeleteJobResponse:
        job = self._known(pb.DeleteJobRequest.FromString(serialized).id)
        if not job.has_ended:
            raise InvalidJobError(f"job {job.message.id} is running; cancel it first")
        del self.jobs[job.message.id]
        self.deleted.set()
        return pb.DeleteJobResponse()

    # ------------------------------------------------------------------ feeding

    async def feed(self, session: Session, attach: pb.Attach) -> None:
        """Ask for what has not come yet, until all has, or the stream is to break."""
        try:
            await self._feed(session, attach)
        except ArraymillError as exc:
            await fail(session.context, exc)

    async def _feed(self, session: Session, attach: pb.Attach) -> None:
        job = self._known(attach.job_id)
        if job.has_ended:
            raise JobEndedError(f"job {attach.job_id} has ended already")
        if job.feeder is not None:
            job.feeder.set()
            job.now()
        replaced = job.feeder = asyncio.Event()
        job.feeds += 1
        left = self.cuts.pop(0) if self.cuts else 1 << 30
        halt = self.halts.pop(0) if self.halts else 1 << 30
        session.start.graph.CopyFrom(job.request.graph)
        job.now(state=pb.JOB_RUNNING)
        await session.accept(blocks=10)
        for number, place in enumerate(self._missing(job)):
            if number == halt:
                await self._end(job, replaced)
            if not left:
                await session.context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            left -= 1
            await self._fetch(session, job, place, replaced)
        if not self.is_held:
            self.execute(job)
        await self._end(job, replaced)
        await session.done()

    def _missing(self, job: FakeJob) -> list[tuple[int, int]]:
        nodes = [node for node in job.graph.nodes if isinstance(node, Input)]
        places = [(index, offset) for index, node in enumerate(nodes) for offset in range(0, _nbytes(node), PIECE)]
        return [place for place in places if place not in job.pieces]

    async def _fetch(self, session: Session, job: FakeJob, place: tuple[int, int], replaced: asyncio.Event) -> None:
        index, offset = place
        length = min(PIECE, _nbytes(session.inputs[index]) - offset)
        await session.want(index, offset, length)
        receiving, taken = asyncio.ensure_future(session.receive(length)), asyncio.ensure_future(replaced.wait())
        try:
            await asyncio.wait({receiving, taken}, return_when=asyncio.FIRST_COMPLETED)
            if taken.done():
                raise JobTakenError(f"another client feeds job {job.message.id} now")
            job.pieces[place] = receiving.result()
        finally:
            receiving.cancel()
            taken.cancel()
            await asyncio.gather(receiving, taken, return_exceptions=True)
        job.now(received_bytes=sum(map(len, job.pieces.values())))

    async def _end(self, job: FakeJob, replaced: asyncio.Event) -> None:
        while not job.has_ended:
            await job.changed.wait()
            if replaced.is_set():
                raise JobTakenError(f"another client feeds job {job.message.id} now")
        if job.message.state != pb.JOB_SUCCEEDED:
            raise JobEndedError(f"job {job.message.id} has ended")

    def execute(self, job: FakeJob) -> None:
        """Compute, and keep the results."""
        job.executed += 1
        nodes = [node for node in job.graph.nodes if isinstance(node, Input)]
        inputs = [self._input(job, index, node) for index, node in enumerate(nodes)]
        for value in self.values(job.graph, inputs):
            job.message.results.append(self.keep(value, ""))
        job.now(state=pb.JOB_SUCCEEDED, blocks_done=10)

    def _input(self, job: FakeJob, index: int, node: Input) -> NDArray[Any]:
        if node.inline is not None:
            return inline_array(node)
        data = b"".join(job.pieces[index, offset] for offset in range(0, _nbytes(node), PIECE))
        return np.frombuffer(data, node.dtype).reshape(node.shape)


def _without_orders(graph: pb.Graph) -> pb.Graph:
    """What a key compares: in which order a client would like to send elements does not count."""
    copy = pb.Graph()
    copy.CopyFrom(graph)
    for node in copy.nodes:
        if node.HasField("input") and not node.input.HasField("inline"):
            node.input.ClearField("order")
    return copy


def _nbytes(node: Input) -> int:
    return int(np.prod(node.shape)) * node.dtype.itemsize


@asynccontextmanager
async def fake_job_server() -> AsyncGenerator[FakeJobServer]:
    """A running server."""
    server = FakeJobServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
