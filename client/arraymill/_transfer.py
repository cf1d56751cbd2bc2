"""One job on a Run stream: answers the server's wants with frames, and places the results.

Reading and writing go on side by side: results of early blocks come while later input is still on its way, and a writer
that waits for the server's window must not keep the reader from making room. Where the server offers a bulk connection,
it is opened meanwhile, and carries the arrays from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import grpc.aio
import numpy as np

from arraymill._bulk import BulkRoute
from arraymill._connection import Connection, RawStream
from arraymill._errors import is_told
from arraymill._graph import Computation
from arraymill._heap import keep_frames_warm
from arraymill._info import ArrayInfo, Progress, ProgressCallback, array_info, job_times
from arraymill._lane import Lane
from arraymill._layout import AnyArray
from arraymill._memory import MemorySession
from arraymill._shared_lane import SharedLane
from arraymill._sink import ResultSink
from arraymill._source import ArraySource, Sources
from arraymill_proto.codec import graph_to_pb, parse_response, type_from_pb
from arraymill_proto.errors import (
    ConnectionFailedError,
    DTypeError,
    FrameError,
    InternalError,
    ParameterError,
    ShapeError,
)
from arraymill_proto.frames import Envelope, FrameView, encode_frame
from arraymill_proto.graph import ArrayType, Order
from arraymill_proto.limits import FRAME_BYTES, shorten
from arraymill_proto.v1 import arraymill_pb2 as pb

END_SECONDS: Final = 1.5
"""After a job without an end that leaves results in memory of the caller: workers may write there for 0.75 s more, and
nothing on a stream that is cancelled can tell."""

MAX_WANTS: Final = 1 << 16
"""Wants that may wait for their frames. A server asks for what it has memory for: a graph has at most 4,096 inputs, and
of each a few blocks are wanted at a time."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may say beside the expression."""

    timeout: float | None = None
    """Seconds until the server stops the job."""
    outs: Sequence[AnyArray | None] = ()
    """Arrays to fill, by output; shorter than the outputs where there are none."""
    progress: ProgressCallback | None = None
    times: Callable[[pb.JobTimes], None] | None = None
    """Told where the time of the job went, when it is done; unlike `progress` it changes nothing in the job's way."""
    keep: pb.Keep | None = None
    """Keep the value on the server instead of fetching it."""
    attach: str = ""
    """Bring the inputs of this submitted job instead of starting one: it gives no results here."""
    frame_bytes: int = FRAME_BYTES
    """Largest frame to send."""
    bulk: BulkRoute | None = None
    """The way to the server's bulk lane; None: do not ask for it."""
    memory: MemorySession | None = None
    """Memory shared with the server; None: there is none."""

    def __post_init__(self) -> None:
        """Check what a caller gave.

        Raises:
            ParameterError: The progress function is none: it would be noticed when all has been computed.
        """
        given = cast("object", self.progress)
        if given is not None and not callable(given):
            told = shorten(repr(given))
            raise ParameterError(f"progress is {told}, it must be a function of one argument", parameter="progress")

    def out(self, index: int) -> AnyArray | None:
        """Return the array to fill with an output."""
        return self.outs[index] if index < len(self.outs) else None


@dataclass(slots=True)
class _State:
    """What came so far."""

    sinks: list[ResultSink] = field(default_factory=list[ResultSink])
    received_bytes: int = 0
    blocks_done: int = 0
    blocks: int = 0
    done: pb.Done | None = None


class Transfer:
    """Runs one job on one stream. Make it in a running event loop."""

    def __init__(self, connection: Connection, job: Computation, options: Options) -> None:
        self._connection = connection
        self._job = job
        self._options = options
        self._wants: asyncio.Queue[pb.Want | None] = asyncio.Queue(MAX_WANTS)
        """None ends the client's side of the stream."""
        self._source = Sources(job.inputs)
        self._state = _State()
        self._lane = Lane(options.bulk)
        self._shared = SharedLane(options.memory, self._source)

    async def run(self) -> tuple[list[AnyArray | np.generic], ArrayInfo | None]:
        """Run the job to its end; cancelling it cancels the job.

        Returns:
            The results, and what is known of the array when it was kept on the server instead.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        keep_frames_warm()
        with self._lane.judged(), self._connection.errors():
            call = self._connection.stream("Run", self._options.timeout)
            reader = asyncio.ensure_future(self._read_all(call))
            writer = asyncio.ensure_future(self._write_all(call))
            try:
                garbled = (self._lane.garbled, self._shared.garbled)
                await asyncio.wait([reader, writer, *garbled], return_when=asyncio.FIRST_COMPLETED)
                for lane in garbled:
                    if lane.done():
                        lane.result()
                if not reader.done():
                    _check_writer(writer)
                await reader
                if self._shared.leaves_results:
                    for sink in self._state.sinks:
                        sink.filled(0, sink.nbytes)
                if not await self._lane.rest():
                    raise self._lost()
            finally:
                may_go_on = self._shared.may_leave_results and not self._has_ended(reader)
                try:
                    await _end(call, reader, writer, self._shared.garbled, *self._lane.tasks)
                finally:
                    self._lane.close()
                    self._shared.close()
                    if may_go_on:
                        await asyncio.sleep(END_SECONDS)
                    del reader, writer  # their errors hold this frame: a circle would keep the arrays for a while
        return self._results()

    def _has_ended(self, reader: asyncio.Future[None]) -> bool:
        """Tell whether the server has said how the job ended: it does so when no worker has it any more."""
        has_failed = reader.done() and not reader.cancelled() and is_told(reader.exception())
        return has_failed or self._state.done is not None

    # ------------------------------------------------------------------ writing

    async def _write_all(self, call: RawStream) -> None:
        """Answer wants; the end of the job ends it."""
        await call.write(self._opening().SerializeToString())
        while (want := await self._wants.get()) is not None:
            source = self._source(want.index, tuple(want.order))
            sent = 0 if self._lane.is_open else await self._answer(want, source, call)
            if sent < want.length:
                await self._lane.answer(want, source, sent)
        await call.done_writing()

    def _opening(self) -> pb.RunRequest:
        options, bulk = self._options, self._lane.is_wanted
        if options.attach:
            return pb.RunRequest(attach=pb.Attach(job_id=options.attach, bulk=bulk))
        memory = self._shared.opening(self._job.inputs, options.outs)
        start = pb.Start(graph=graph_to_pb(self._job.graph), keep=options.keep, bulk=bulk, memory=memory)
        return pb.RunRequest(start=start)

    async def _answer(self, want: pb.Want, source: ArraySource, call: RawStream) -> int:
        """Send what a want asks for; each frame is made while gRPC still writes the one before it.

        Returns:
            Bytes that are sent: not all when the bulk connection is open meanwhile.
        """
        sent = 0
        writing: asyncio.Future[None] | None = None
        try:
            for offset, data in source.frames(want.offset, want.length, self._options.frame_bytes):
                frame = encode_frame(want.want, want.index, offset, data, Envelope.REQUEST, checked=True)
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(call.write(frame))
                sent += len(data)
                await asyncio.sleep(0)  # the write begins now, not when the next frame is made
                if self._lane.is_open:
                    break
            if writing is not None:
                await writing
            return sent
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    # ------------------------------------------------------------------ reading

    async def _read_all(self, call: RawStream) -> None:
        try:
            while isinstance(message := await call.read(), bytes):
                self._receive(message)
                del message  # up to 1 MiB, which would otherwise stay until the next message
        except grpc.aio.AioRpcError:
            if self._state.done is None:  # else a frame that nobody needs any more could not be sent
                raise
        if self._state.done is None:
            raise InternalError(f"the server at {self._connection.address} ended the job without a result")

    def _receive(self, message: bytes) -> None:
        try:
            response = parse_response(message)
        except FrameError as exc:
            raise self._connection.garbled("Run") from exc
        if isinstance(response, FrameView):
            self._place(response)
        else:
            self._take(response)

    def _place(self, frame: FrameView) -> None:
        if frame.index >= len(self._state.sinks):
            raise InternalError(f"the server sent output {frame.index} of {len(self._state.sinks)}")
        frame.verify()
        self._state.sinks[frame.index].place(frame.offset, frame.data)

    def _take(self, response: pb.RunResponse) -> None:
        state = self._state
        match response.WhichOneof("message"):
            case "want":
                self._want(response.want)
            case "accepted":
                state.blocks = response.accepted.blocks
                self._shared.accepted(response.accepted)
                if response.accepted.HasField("bulk"):
                    self._lane.offered(response.accepted.bulk)
                self._report()
            case "bulk_ended":
                self._forget_bulk()
            case "header":
                state.sinks = self._open_sinks(response.header)
                self._lane.announced(state.sinks)
                self._shared.announced(state.sinks)
            case "progress":
                state.received_bytes = response.progress.received_bytes
                state.blocks_done = response.progress.blocks_done
                self._report()
            case "done":
                state.done = response.done
                self._lane.job_done()
                if self._lane.has_linked and not self._wants.full():  # then the server waits for this a little
                    self._wants.put_nowait(None)
                state.received_bytes = response.done.times.received_bytes
                state.blocks_done = state.blocks
                if self._options.times is not None:
                    self._options.times(response.done.times)
                self._report()
            case _:
                pass  # a message of a later version

    def _forget_bulk(self) -> None:
        """Send by frames from now on; what is still to be sent will be wanted again."""
        self._lane.ended()
        self._shared.ended()
        while not self._wants.empty():
            self._wants.get_nowait()

    def _want(self, want: pb.Want) -> None:
        try:
            self._wants.put_nowait(want)
        except asyncio.QueueFull:
            raise InternalError(f"the server asked for more than {MAX_WANTS:,} ranges at once") from None

    def _open_sinks(self, header: pb.ResultHeader) -> list[ResultSink]:
        if len(header.results) != len(self._job.results):
            raise InternalError(f"the server announced {len(header.results)} results of {len(self._job.results)}")
        return [self._sink(index, result) for index, result in enumerate(header.results)]

    def _sink(self, index: int, result: pb.Result) -> ResultSink:
        out = self._options.out(index)
        shares = out is not None and any(np.may_share_memory(out, array) for array in self._job.inputs)
        type, order = announced(result, self._job.results[index])
        return ResultSink(type, order, out=out, detached=shares)

    def _report(self) -> None:
        if self._options.progress is not None:
            state = self._state
            times = None if state.done is None else job_times(state.done.times)
            self._options.progress(Progress(state.received_bytes, state.blocks_done, state.blocks, times))

    def _lost(self) -> ConnectionFailedError:
        return ConnectionFailedError(
            f"the bulk connection to {self._connection.address} broke while results travelled on it; try again"
        )

    def _results(self) -> tuple[list[Any], ArrayInfo | None]:
        done = self._state.done
        if self._options.attach:
            return [], None
        if self._options.keep is None:
            if len(self._state.sinks) != len(self._job.results):
                raise InternalError(f"the server at {self._connection.address} ended the job without a result")
            return [sink.finish() for sink in self._state.sinks], None
        if done is None or not done.HasField("array"):
            raise InternalError(f"the server at {self._connection.address} did not say what it keeps")
        return [], array_info(done.array)


def announced(result: pb.Result | pb.InlineArray, expected: ArrayType) -> tuple[ArrayType, Order | None]:
    """Return the type of a result and the order of axes in which its bytes come.

    Raises:
        InternalError: Another type than the expression has, or no type or order at all.
    """
    order = tuple(result.order)
    try:
        type = type_from_pb(result.type)
    except (DTypeError, ShapeError) as exc:
        raise InternalError(f"the server announced a result that is no array: {exc}") from exc
    if type != expected:
        raise InternalError(
            f"the server computes {_text(type)} where {_text(expected)} was expected: do the two use the same version "
            "of NumPy?"
        )
    if order and sorted(order) != list(range(type.ndim)):
        raise InternalError(f"the server announced a result of {type.ndim} dimensions in the order {order}")
    return type, order or None


def _check_writer(writer: asyncio.Future[None]) -> None:
    """Raise what ended the writer, unless the stream broke: then the reader knows the reason."""
    error = writer.exception()
    if error is not None and not isinstance(
        error, (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError)
    ):
        raise error


async def _end(call: RawStream, *tasks: asyncio.Future[None]) -> None:
    """End the call and its tasks, and wait for the tasks: none may outlive the job."""
    call.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _text(type: ArrayType) -> str:
    return f"{type.dtype} of shape {type.shape}"
