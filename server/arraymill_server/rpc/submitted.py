"""The calls of submitted jobs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Any, Final

from arraymill_proto.codec import graph_from_pb
from arraymill_proto.errors import JobEndedError, JobTakenError, ParameterError
from arraymill_proto.limits import DEFAULT_PRIORITY, MAX_WAIT_SECONDS, WATCH_REPEAT_SECONDS
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.aside import LARGE_NODES, Aside
from arraymill_server.jobs.board import Board
from arraymill_server.jobs.ledger import OUTCOMES, token_of
from arraymill_server.jobs.life import State
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.submitted import Submission, SubmittedJob
from arraymill_server.metrics.counts import CANCELLED, FAILED, SUCCEEDED
from arraymill_server.rpc import messages
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.calls import Calls, client_of, job_bytes
from arraymill_server.rpc.feed import FedExchange
from arraymill_server.rpc.record import operation_of, refusing
from arraymill_server.rpc.stall import patience
from arraymill_server.rpc.streams import Context, linger, receive, stop

PAGE_BYTES: Final = 1 << 20
"""Most bytes of a page of jobs, unless a single one has more: errors may be long."""

SLICE: Final = 64
"""Jobs of a list, or results of a job, that are told in one turn of the loop: each takes 20 us, or 8."""


_OUTCOMES: Final = {State.SUCCEEDED: SUCCEEDED, State.FAILED: FAILED, State.CANCELLED: CANCELLED}


class SubmittedServicer:
    """Answers the calls of submitted jobs.

    Args:
        board: The jobs.
        residents: Their results.
        stall_seconds: What may pass while a job waits for input.
        calls: Counts those that wait.
    """

    def __init__(self, board: Board, residents: Residents, stall_seconds: float, calls: Calls) -> None:
        self._board = board
        self._calls = calls
        self._residents = residents
        self._stall_seconds = stall_seconds
        board.on_end = self._count
        self._comparing = Aside()
        """Tells large graphs from others: whoever joins a job does not wait until those of others are planned."""

    def __repr__(self) -> str:
        return f"<SubmittedServicer of {self._board!r}>"

    async def submit_job(self, request: pb.SubmitJobRequest, context: Context) -> pb.Job:
        """Put a job into the queue, or join the one that has its key."""
        client, nodes = client_of(context), len(request.graph.nodes)
        operation = operation_of(request.graph, is_kept=True)
        with refusing(self._calls.counts, operation), ExitStack() as place:
            if nodes >= LARGE_NODES:  # it has to wait for its turn to be told from others
                self._take_place(place, client, request)
            digest = await self._comparing.run(client, nodes, digest_of, request.graph)
            submission = _submission_of(request, client, digest, operation)
            job = await self._board.join(submission)  # before anything else: a job that is there is not planned again
            if job is None:
                if nodes < LARGE_NODES:
                    self._take_place(place, client, request)
                job = await self._submit(request.graph, submission, place)
        return await self._described(job)

    def _take_place(self, place: ExitStack, client: str, request: pb.SubmitJobRequest) -> None:
        nbytes = job_bytes(request.ByteSize(), len(request.graph.nodes))
        place.enter_context(self._calls.submitted.taken(client, nbytes))

    async def _submit(self, message: pb.Graph, submission: Submission, place: ExitStack) -> SubmittedJob:
        """Submit a job; if its exchange is made, that gets the place of what the job's message has brought."""
        jobs, client = self._board.jobs, submission.client
        graph = await jobs.aside.run(client, len(message.nodes), graph_from_pb, message)

        def feed() -> FedExchange:
            exchange = FedExchange(graph, self._stall_seconds, self._calls.counts.traffic)
            exchange.on_end = place.pop_all().close
            return exchange

        async with jobs.foreseen(graph, client, keep=True):
            return await self._board.submit(graph, submission, feed)

    async def get_job(self, request: pb.GetJobRequest, context: Context) -> pb.Job:
        """Describe a job now, or at its end."""
        seconds = request.wait_seconds
        if not 0 <= seconds <= MAX_WAIT_SECONDS:
            raise ParameterError(
                f"wait_seconds is {seconds:g}, it must be 0 to {MAX_WAIT_SECONDS:g}; ask again for a longer wait",
                parameter="wait_seconds",
            )
        job = self._board.ledger.get(request.id)
        if seconds and not job.state.has_ended:
            with self._calls.waits.taken(client_of(context)):
                await self._board.wait(job, seconds)
        return await self._described(job)

    async def watch_job(self, request: pb.WatchJobRequest, context: Context) -> AsyncGenerator[pb.Job]:
        """Describe a job whenever it has changed, and again when nothing does for long, until it has ended."""
        job = self._board.ledger.get(request.id)
        async with aclosing(self._board.watches.news(job, WATCH_REPEAT_SECONDS)) as news:
            async for _ in news:
                yield await self._described(job)

    async def list_jobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """List jobs in pages, without their results; a page ends early where its jobs tell very much."""
        jobs, token = self._board.ledger.page(request.page_size, request.page_token, is_open_only=request.open_only)
        response = pb.ListJobsResponse(next_page_token=token)
        nbytes = 0
        for index, (before, job) in enumerate(zip([None, *jobs], jobs, strict=False)):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            told = messages.job(job, self._board)
            nbytes += told.ByteSize()
            if before is not None and nbytes > PAGE_BYTES:
                response.next_page_token = token_of(before)
                break
            response.jobs.append(told)
        return response

    async def cancel_job(self, request: pb.CancelJobRequest, context: Context) -> pb.Job:
        """Stop a job; answers when its memory is free."""
        return await self._described(await self._board.cancel(request.id))

    async def delete_job(self, request: pb.DeleteJobRequest, context: Context) -> pb.DeleteJobResponse:
        """Forget a job that has ended."""
        self._board.delete(request.id)
        return pb.DeleteJobResponse()

    def fed(self, id: str) -> FedExchange:
        """Return what a job gets its input by.

        Raises:
            JobNotFoundError: There is no job of this id.
            JobEndedError: It takes no input any more.
        """
        job = self._board.ledger.get(id)
        if job.feed is None:
            raise JobEndedError(f"job {id} {OUTCOMES[job.state]}; it takes no input", job=id, state=job.state.name)
        assert isinstance(job.feed, FedExchange)
        return job.feed

    async def feed(self, id: str, context: Context, bulk: BulkListener | None) -> None:
        """Let a client bring what a job waits for, until the job has ended or another client does."""
        job = self._board.ledger.get(id)
        with self.fed(id).attached(context, bulk) as session:
            reader = asyncio.ensure_future(receive(session, context))
            over = asyncio.ensure_future(self._board.wait(job))
            try:
                await _first(over, session.sending, reader)
                if session.is_replaced:
                    raise JobTakenError(f"another client feeds job {id} now", job=id, state=job.state.name)
                await over
                async with patience(self._stall_seconds, "does not read the end of its job"):
                    await session.wait_said()
                await self._tell_end(job, context)
                await linger(session.gate, reader)
            finally:
                await stop(reader, over, session.sending)

    async def _tell_end(self, job: SubmittedJob, context: Context) -> None:
        if job.error is not None:
            raise job.failure()
        assert job.report is not None
        async with patience(self._stall_seconds, "does not read the end of its job"):
            await context.write(messages.done(job.report, self._residents))

    def _count(self, job: SubmittedJob) -> None:
        counts = self._calls.counts
        counts.ended(job.submission.operation, _OUTCOMES[job.state])
        if job.state is State.SUCCEEDED and job.report is not None:
            counts.took(job.report.times)

    async def _described(self, job: SubmittedJob) -> pb.Job:
        """Describe a job with its results, in slices: the loop goes on meanwhile."""
        message, results = messages.job(job, self._board), job.results
        for begin in range(0, len(results), SLICE):
            if begin:
                await asyncio.sleep(0)
            message.results.extend(
                messages.array_info(array, self._residents) for array in results[begin : begin + SLICE]
            )
        return message


def _submission_of(request: pb.SubmitJobRequest, client: str, digest: bytes, operation: str) -> Submission:
    return Submission(
        client,
        digest,
        request.key,
        request.priority if request.HasField("priority") else DEFAULT_PRIORITY,
        request.deadline_seconds,
        request.ttl_seconds,
        operation,
    )


def digest_of(graph: pb.Graph) -> bytes:
    """Return what tells a graph from others. In which order a client would like to send elements is no part of it."""
    streamed = [
        index for index, node in enumerate(graph.nodes) if node.input.order and not node.input.HasField("inline")
    ]
    if streamed:
        message, graph = graph, pb.Graph()
        graph.CopyFrom(message)
        for index in streamed:
            graph.nodes[index].input.ClearField("order")
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).digest()


async def _first(over: asyncio.Future[None], sending: asyncio.Future[None], reader: asyncio.Future[None]) -> None:
    """Wait until the job is over or its client has gone; one that has sent all may stay to hear of the end."""
    ends: set[asyncio.Future[Any]] = {over, sending}
    await asyncio.wait({*ends, reader}, return_when=asyncio.FIRST_COMPLETED)
    if reader.done():
        reader.result()
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if sending.done() and not sending.cancelled():
        sending.result()
