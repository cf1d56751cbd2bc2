"""The wall around handlers: whatever happens behind it, a client hears a declared status, or has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from patience import turns
from structlog.testing import capture_logs

from arraymill_proto.errors import ArraymillError, BusyError, InternalError, InvalidJobError, JobKeyError
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.life import LifeError
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.guard import answers, guard, unary
from arraymill_server.testing.calls import MemoryCall

Work: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]
Wrapped: TypeAlias = Callable[[Any, Calls, Work], Coroutine[Any, Any, list[pb.Job]]]

REQUEST = pb.GetJobRequest(id="j7")


class Call(MemoryCall):
    """A call whose client may have gone: then it hears nothing."""

    def __init__(self) -> None:
        super().__init__("ipv4:10.0.0.1:4711", grpc.aio.EOF)
        self.is_cancelled = self.is_done = False
        self.abort_error: Exception = grpc.aio.AbortError()

    def cancelled(self) -> bool:
        return self.is_cancelled

    def done(self) -> bool:
        return self.is_done

    async def abort_with_status(self, status: Any) -> None:
        self.status = status
        raise self.abort_error

    @property
    def told(self) -> tuple[grpc.StatusCode, str, str]:
        """Code, reason and text of its status."""
        packed = status_pb2.Status.FromString(dict(self.status.trailing_metadata)["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        assert packed.details[0].Unpack(info)
        return self.status.code, info.reason, self.status.details


async def as_guard(call: Any, calls: Calls, work: Work) -> list[pb.Job]:
    async def run(_: object, context: Any) -> None:
        await work()

    await guard(run, calls)(b"", call)
    return []


async def as_unary(call: Any, calls: Calls, work: Work) -> list[pb.Job]:
    async def get_job(request: pb.GetJobRequest, context: Any) -> pb.Job:
        await work()
        return pb.Job(id=request.id)

    return [await unary(get_job, pb.GetJobRequest, calls)(REQUEST.SerializeToString(), call)]


async def as_answers(call: Any, calls: Calls, work: Work) -> list[pb.Job]:
    """The work comes after the first answer."""

    async def watch_job(request: pb.GetJobRequest, context: Any) -> AsyncGenerator[pb.Job]:
        yield pb.Job(id=request.id)
        await work()
        yield pb.Job(id=request.id, position=1)

    return [job async for job in answers(watch_job, pb.GetJobRequest, calls)(REQUEST.SerializeToString(), call)]


WRAPPED: dict[str, Wrapped] = {"run": as_guard, "get_job": as_unary, "watch_job": as_answers}
"""By the handler that is wrapped."""

ANSWERS = {"run": [], "get_job": [pb.Job(id="j7")], "watch_job": [pb.Job(id="j7"), pb.Job(id="j7", position=1)]}

WRAPS = pytest.mark.parametrize("method", WRAPPED)


def work_of(error: BaseException | None) -> Work:
    async def work() -> None:
        if error is not None:
            raise error

    return work


async def aborted(method: str, error: BaseException) -> Call:
    """A call whose handler raises something."""
    call, calls = Call(), Calls(1)
    with pytest.raises(grpc.aio.AbortError):
        await WRAPPED[method](call, calls, work_of(error))
    assert repr(calls) == "<Calls: 0 open, 0 run jobs, 0 wait>"
    return call


@WRAPS
async def test_what_is_well(method: str) -> None:
    call, calls = Call(), Calls(1)
    jobs = await WRAPPED[method](call, calls, work_of(None))
    assert jobs == ANSWERS[method]
    assert (call.status, repr(calls)) == (None, "<Calls: 0 open, 0 run jobs, 0 wait>")


# ---------------------------------------------------------------------- errors


@WRAPS
async def test_a_declared_error_is_a_status(method: str) -> None:
    with capture_logs() as logs:
        call = await aborted(method, JobKeyError("the key is taken"))
    assert call.told == (grpc.StatusCode.ALREADY_EXISTS, "JOB_KEY", "the key is taken")
    assert logs == []


DEFECTS = [RuntimeError("secret"), LifeError("secret"), AssertionError("secret"), InternalError("secret"), KeyError(7)]


@WRAPS
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect).__name__)
async def test_whatever_else_is_an_id(method: str, defect: Exception) -> None:
    with capture_logs() as logs:
        call = await aborted(method, defect)
    (entry,) = logs
    code, reason, text = call.told
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert text == f"internal error {entry['error_id']}: a defect of the server; its log tells more under this id"
    assert entry["exc_info"] is defect
    assert entry["method"] == method
    assert b"secret" not in dict(call.status.trailing_metadata)["grpc-status-details-bin"]


# ---------------------------------------------------------------------- cancellation


async def cancelled_from_within() -> None:
    """Await a task that somebody else has cancelled."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def cancelled_by_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@WRAPS
@pytest.mark.parametrize("work", [cancelled_from_within, cancelled_by_itself, work_of(asyncio.CancelledError())])
async def test_a_cancellation_without_a_reason_is_a_status(method: str, work: Work) -> None:
    """The client is there and waits: silence would be an answer without a reason."""
    call, calls = Call(), Calls(1)
    answering = asyncio.create_task(WRAPPED[method](call, calls, work))
    await asyncio.wait([answering])
    assert not answering.cancelled()
    assert isinstance(answering.exception(), grpc.aio.AbortError)
    assert call.told == (grpc.StatusCode.CANCELLED, "CANCELLED", "the job was cancelled by the server")
    assert repr(calls) == "<Calls: 0 open, 0 run jobs, 0 wait>"


@WRAPS
@pytest.mark.parametrize("gone", ["is_cancelled", "is_done"])
async def test_a_cancellation_by_a_client_that_has_gone_stays_one(method: str, gone: str) -> None:
    call, calls = Call(), Calls(1)
    answering = asyncio.create_task(WRAPPED[method](call, calls, asyncio.Event().wait))
    await turns(3)
    setattr(call, gone, True)
    answering.cancel()
    await asyncio.wait([answering])
    assert answering.cancelled()
    assert (call.status, repr(calls)) == (None, "<Calls: 0 open, 0 run jobs, 0 wait>")


@WRAPS
async def test_the_end_of_the_server_is_told_to_whoever_waits_and_to_whoever_comes(method: str) -> None:
    calls, waiting, late = Calls(1), Call(), Call()
    answering = asyncio.create_task(WRAPPED[method](waiting, calls, asyncio.Event().wait))
    await turns(3)
    calls.end()
    await asyncio.wait([answering])
    assert not answering.cancelled()
    assert isinstance(answering.exception(), grpc.aio.AbortError)
    with pytest.raises(grpc.aio.AbortError):
        await WRAPPED[method](late, calls, work_of(None))
    for call in (waiting, late):
        code, reason, text = call.told
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert "try again on a new connection" in text


# ---------------------------------------------------------------------- who has gone

GONE = [grpc.aio.InternalError("gone"), grpc.aio.UsageError("finished")]


@WRAPS
@pytest.mark.parametrize("gone", GONE, ids=["internal", "usage"])
async def test_who_has_gone_is_not_answered(method: str, gone: Exception) -> None:
    call, calls = Call(), Calls(1)
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await WRAPPED[method](call, calls, work_of(gone))
    assert call.status is None
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("client gone", "debug")]


@WRAPS
@pytest.mark.parametrize("gone", GONE, ids=["internal", "usage"])
async def test_who_goes_before_he_hears_of_an_error(method: str, gone: Exception) -> None:
    call, calls = Call(), Calls(1)
    call.abort_error = gone
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await WRAPPED[method](call, calls, work_of(BusyError("full")))
    assert [entry["event"] for entry in logs] == ["client gone"]


# ---------------------------------------------------------------------- messages


async def never(request: pb.GetJobRequest, context: Any) -> pb.Job:
    raise AssertionError("the handler was reached")


async def watch_never(request: pb.GetJobRequest, context: Any) -> AsyncGenerator[pb.Job]:
    yield await never(request, context)


@pytest.mark.parametrize("kind", ["unary", "answers"])
async def test_a_message_that_cannot_be_read_is_the_clients_fault(kind: str) -> None:
    call: Any = Call()
    once, watch = unary(never, pb.GetJobRequest, Calls(1)), answers(watch_never, pb.GetJobRequest, Calls(1))
    with pytest.raises(grpc.aio.AbortError):
        await (once(b"\xff" * 40, call) if kind == "unary" else anext(watch(b"\xff" * 40, call)))
    assert call.told == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_JOB",
        "the request of 40 bytes is no GetJobRequest",
    )


async def test_a_message_may_be_refused_unread() -> None:
    seen: list[tuple[int, object]] = []

    def check(nbytes: int, context: object) -> None:
        seen.append((nbytes, context))
        raise BusyError("full")

    call: Any = Call()
    with pytest.raises(grpc.aio.AbortError):
        await unary(never, pb.GetJobRequest, Calls(1), check)(b"\xff" * 40, call)
    assert (call.told[1], seen) == ("BUSY", [(40, call)])


# ---------------------------------------------------------------------- calls that wait


async def test_a_watch_holds_a_place_until_it_is_left() -> None:
    is_over = False

    async def watch_job(request: pb.GetJobRequest, context: Any) -> AsyncGenerator[pb.Job]:
        nonlocal is_over
        try:
            while True:
                yield pb.Job()
        finally:
            is_over = True

    call: Any = Call()
    calls = Calls(1)
    watching = answers(watch_job, pb.GetJobRequest, calls)(b"", call)
    await anext(watching)
    assert repr(calls) == "<Calls: 1 open, 0 run jobs, 1 wait>"
    await watching.aclose()
    assert (is_over, repr(calls)) == (True, "<Calls: 0 open, 0 run jobs, 0 wait>")


async def test_a_watch_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(1)
    monkeypatch.setattr(calls.waits, "limit", 0)
    call = Call()
    with pytest.raises(grpc.aio.AbortError):
        await as_answers(call, calls, work_of(None))
    assert call.told[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY")


async def test_a_status_that_does_not_end_the_call_is_a_defect() -> None:
    """gRPC raises once the status is said; a handler must not be left as if it had answered."""

    class Deaf(Call):
        async def abort_with_status(self, status: Any) -> None:
            self.status = status

    call: Any = Deaf()
    error: ArraymillError = InvalidJobError("no")
    with pytest.raises(AssertionError, match="abort returns"):
        await as_guard(call, Calls(1), work_of(error))
