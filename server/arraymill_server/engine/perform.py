"""Running one task to a reply: the one place where exceptions of kernels become reasons.

Worker processes and the serial engine run tasks through `perform`, so both report the same errors.
"""

from __future__ import annotations

import traceback
from time import perf_counter
from typing import Protocol

from arraymill_proto.errors import ArraymillError, InternalError, Reason, TooLargeError
from arraymill_server.engine.messages import MAX_DETAILS, TEXT_BYTES, TRACE_BYTES, Reply, Request, head, tail
from arraymill_server.plan.program import Task


class TaskRunner(Protocol):
    """Runs tasks on the memory that it was made with: `plan.interpreter.Interpreter`, or a double of it."""

    def run(self, task: Task) -> None: ...


def perform(runner: TaskRunner, request: Request, memory_bytes: int | None = None) -> Reply:
    """Run one task and say how it ended.

    Args:
        runner: What runs it.
        request: The task.
        memory_bytes: The private memory that a task may take, for the message when it is not enough.

    Returns:
        The reply. Only what is no `Exception` (SystemExit, KeyboardInterrupt) is let through.
    """
    begin = perf_counter()
    try:
        runner.run(request.task)
    except Exception as exc:  # every kind is answered for, by the rules of `_failure`
        return _failure(exc, request, perf_counter() - begin, memory_bytes)
    return Reply(request.task_id, request.generation, perf_counter() - begin)


def _failure(exc: Exception, request: Request, seconds: float, memory_bytes: int | None) -> Reply:
    """Declared errors travel as they are, too little memory with numbers, everything else as INTERNAL."""
    trace = ""
    if isinstance(exc, MemoryError) and not isinstance(exc, ArraymillError):
        error: ArraymillError = _too_large(memory_bytes)
    elif isinstance(exc, ArraymillError) and exc.reason is not Reason.INTERNAL:
        error = exc
    else:
        error = InternalError("")
        trace = tail("".join(traceback.format_exception(exc)), TRACE_BYTES)
    return Reply(
        request.task_id,
        request.generation,
        seconds,
        error.reason,
        head(error.message, TEXT_BYTES),
        {head(key, TEXT_BYTES): head(error.details[key], TEXT_BYTES) for key in list(error.details)[:MAX_DETAILS]},
        trace,
    )


def _too_large(memory_bytes: int | None) -> TooLargeError:
    if memory_bytes is None:
        return TooLargeError("a block of the job needs more memory than this process can have")
    return TooLargeError(
        f"needs more private memory than the worker memory limit of {memory_bytes:,} bytes allows; split the "
        "expression, or start the server with a larger limit (--worker-memory)",
        available_bytes=memory_bytes,
    )
