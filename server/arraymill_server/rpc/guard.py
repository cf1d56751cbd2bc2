"""The wall around every handler: errors become statuses, and nothing undeclared leaves the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import wraps
from typing import Protocol, Self, TypeAlias, TypeVar

from google.protobuf.message import DecodeError

from arraymill_proto.errors import ArraymillError, InvalidJobError, JobCancelledError
from arraymill_server.log import get_logger
from arraymill_server.rpc.calls import Calls, client_of, shutting_down
from arraymill_server.rpc.status import GONE, declared, status_of
from arraymill_server.rpc.streams import Context

Answer = TypeVar("Answer")

_log = get_logger(__name__)


class Message(Protocol):
    """A generated class."""

    @classmethod
    def FromString(cls, s: bytes, /) -> Self: ...  # noqa: N802  # protobuf's name


Request = TypeVar("Request", bound=Message)

Check: TypeAlias = Callable[[int, Context], None]


def guard(
    method: Callable[[bytes, Context], Awaitable[Answer]], calls: Calls
) -> Callable[[bytes, Context], Awaitable[Answer]]:
    """Wrap a handler that answers once, or not at all."""

    @wraps(method)
    async def guarded(request: bytes, context: Context) -> Answer:
        async with _answering(method.__name__, context, calls):
            return await method(request, context)
        raise AssertionError("abort returns")

    return guarded


def unary(
    method: Callable[[Request, Context], Awaitable[Answer]],
    request: type[Request],
    calls: Calls,
    check: Check = lambda _, __: None,
) -> Callable[[bytes, Context], Awaitable[Answer]]:
    """Wrap a handler of one message; one that cannot be read is the client's fault.

    Args:
        method: The handler.
        request: What the message is.
        calls: Where it is noted.
        check: May refuse the message before it is unfolded: gets its size and the call.
    """

    @wraps(method)
    async def parsed(message: bytes, context: Context) -> Answer:
        check(len(message), context)
        return await method(_parse(request, message), context)

    return guard(parsed, calls)


def answers(
    method: Callable[[Request, Context], AsyncGenerator[Answer]], request: type[Request], calls: Calls
) -> Callable[[bytes, Context], AsyncGenerator[Answer]]:
    """Wrap a handler of one message that answers again and again: a call that waits."""

    @wraps(method)
    async def guarded(message: bytes, context: Context) -> AsyncGenerator[Answer]:
        async with _answering(method.__name__, context, calls):
            with calls.waits.taken(client_of(context)):
                async with aclosing(method(_parse(request, message), context)) as told:
                    async for answer in told:
                        yield answer

    return guarded


def _parse(request: type[Request], message: bytes) -> Request:
    try:
        return request.FromString(message)
    except DecodeError as exc:
        raise InvalidJobError(f"the request of {len(message):,} bytes is no {request.__name__}") from exc


@asynccontextmanager
async def _answering(method: str, context: Context, calls: Calls) -> AsyncGenerator[None]:
    try:
        with calls.open():
            yield
        return
    except asyncio.CancelledError:
        if context.cancelled() or context.done():
            raise
        error: ArraymillError = (
            shutting_down() if calls.is_ended else JobCancelledError("the job was cancelled by the server")
        )
    except GONE as exc:
        raise _client_gone(method, context) from exc
    except Exception as exc:
        error = declared(exc, method=method)
    try:
        await context.abort_with_status(status_of(error))
    except GONE as exc:
        raise _client_gone(method, context) from exc


def _client_gone(method: str, context: Context) -> asyncio.CancelledError:
    _log.debug("client gone", method=method, peer=context.peer())
    return asyncio.CancelledError()
