from __future__ import annotations

import pytest

from arraymill_proto.errors import (
    ArraymillError,
    ComputationError,
    InternalError,
    Reason,
    ShapeError,
    TooLargeError,
)
from arraymill_server.engine.messages import MAX_DETAILS, REPLY_BYTES, TEXT_BYTES, Reply, Request, encode
from arraymill_server.engine.perform import perform
from arraymill_server.plan.program import Task
from arraymill_server.testing.faults import write_task

REQUEST = Request(9, 2, write_task(0, 1))


class Raising:
    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    def run(self, task: Task) -> None:
        raise self.exc


class Recording:
    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def run(self, task: Task) -> None:
        self.tasks.append(task)


def failed(exc: BaseException, memory_bytes: int | None = None) -> Reply:
    reply = perform(Raising(exc), REQUEST, memory_bytes)
    assert (reply.task_id, reply.generation) == (9, 2)
    assert reply.seconds >= 0
    return reply


def test_a_task_that_ends_is_done() -> None:
    runner = Recording()
    reply = perform(runner, REQUEST)
    assert runner.tasks == [REQUEST.task]
    assert reply == Reply(9, 2, reply.seconds)


@pytest.mark.parametrize(
    "error", [ComputationError("no"), ShapeError("no", shape=(1,)), TooLargeError("no", reason=Reason.RESULT_TOO_LARGE)]
)
def test_declared_errors_travel_as_they_are(error: ArraymillError) -> None:
    reply = failed(error)
    assert (reply.reason, reply.text, reply.details, reply.trace) == (error.reason, "no", error.details, "")


def test_too_little_memory_is_told_with_the_limit() -> None:
    reply = failed(MemoryError("secret"), 1 << 20)
    assert reply.reason is Reason.TOO_LARGE
    assert "worker memory limit of 1,048,576 bytes" in reply.text
    assert reply.details == {"available_bytes": "1048576"}
    assert "secret" not in repr(failed(MemoryError("secret")))


@pytest.mark.parametrize("exc", [ValueError("secret"), InternalError("secret", path="secret"), KeyError("secret")])
def test_everything_else_travels_as_a_traceback_only(exc: Exception) -> None:
    reply = failed(exc)
    assert (reply.reason, reply.text, reply.details) == (Reason.INTERNAL, "", {})
    assert "secret" in reply.trace
    assert "Traceback" in reply.trace


@pytest.mark.parametrize("exc", [SystemExit(1), KeyboardInterrupt()])
def test_an_order_to_end_is_let_through(exc: BaseException) -> None:
    with pytest.raises(type(exc)):
        failed(exc)


def test_replies_are_bounded() -> None:
    error = ComputationError("é" * 9000)
    error.details = {f"key{number}" + "k" * 9000: "é" * 9000 for number in range(5)}
    reply = failed(error)
    assert len(reply.text.encode()) == TEXT_BYTES
    assert len(reply.details) == MAX_DETAILS
    assert len(encode(reply)) <= REPLY_BYTES
    assert len(encode(failed(ValueError("x" * 100_000)))) <= REPLY_BYTES
