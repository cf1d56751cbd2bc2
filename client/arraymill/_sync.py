"""The synchronous client and its jobs: the methods of the asynchronous ones, run on one background event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from arraymill._background import run
from arraymill._client import CONNECT_SECONDS, AsyncClient
from arraymill._fork import is_child
from arraymill._job import AsyncJob
from arraymill._job_info import JobStatus
from arraymill._retry import RETRY_SECONDS
from arraymill_proto.errors import ArraymillError
from arraymill_proto.limits import FRAME_BYTES

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")
T = TypeVar("T")


class _Facade(Generic[A_co]):
    """Something whose asynchronous twin does the work."""

    def __init__(self, twin: A_co) -> None:
        self._twin = twin

    def __repr__(self) -> str:
        return repr(self._twin).replace(type(self._twin).__name__, type(self).__name__, 1)


def _twin(facade: _Facade[A]) -> A:
    return facade._twin  # pyright: ignore[reportPrivateUsage]  # part of the class


@contextmanager
def _named(facade: _Facade[Any], method: Callable[..., Any]) -> Generator[None]:
    """Let Python's words about arguments that do not fit name the class that was called, and not its twin."""
    try:
        yield
    except TypeError as exc:
        if not isinstance(exc, ArraymillError) and (begin := f"{method.__qualname__}()") in str(exc):
            raise TypeError(str(exc).replace(begin, f"{type(facade).__name__}.{method.__name__}()", 1)) from None
        raise


def _returning(annotation: object, call: Callable[P, T]) -> Callable[P, T]:
    """Let a method tell what it returns itself, where its twin returns something else."""
    documented: Any = call
    documented.__signature__ = signature(call).replace(return_annotation=annotation)
    documented.__annotations__ = {**call.__annotations__, "return": annotation}
    return call


def _blocking(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Facade[A], P], T]:
    """Return the same method without await: same parameters, same documentation."""

    @wraps(method)
    def call(self: _Facade[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with _named(self, method):
            return run(method, _twin(self), *args, **kwargs)

    return call


def _closing(method: Callable[[AsyncClient], Coroutine[Any, Any, None]]) -> Callable[[_Facade[AsyncClient]], None]:
    """Return the same method without await, which does nothing in the child of a fork: there is no loop to run it."""

    @wraps(method)
    def call(self: _Facade[AsyncClient], /) -> None:
        if not is_child():
            run(method, _twin(self))

    return call


def _giving_a_job(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, AsyncJob]],
) -> Callable[Concatenate[_Facade[A], P], Job]:
    """Return the same method without await, for a job without await."""

    @wraps(method)
    def call(self: _Facade[A], /, *args: P.args, **kwargs: P.kwargs) -> Job:
        with _named(self, method):
            return Job(run(method, _twin(self), *args, **kwargs))

    return _returning(Job, call)


def _iterating(
    method: Callable[Concatenate[A, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[_Facade[A], P], Generator[T, None, None]]:
    """Return the same generator, for a plain loop."""

    @wraps(method)
    def call(self: _Facade[A], /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        with _named(self, method):  # wrong arguments are told at once, not by the first item
            return _all_of(method(_twin(self), *args, **kwargs))

    return _returning(Generator[JobStatus, None, None], call)


def _all_of(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    try:
        while (item := run(_next, items)) is not None:
            yield item
    finally:
        with suppress(ArraymillError):  # at the end of the process nothing can be closed any more, nor need be
            run(items.aclose)


async def _next(items: AsyncGenerator[T, None]) -> T | None:
    return await anext(items, None)


class Job(_Facade[AsyncJob]):
    """A job that was submitted: made by `submit`, or by `job` from its id, in another process too.

    It goes on without its client, and any client may come back for it; see `AsyncJob`. Ctrl-C ends a wait, not the job.
    Arrays that were too large to go with the submission are sent on the background thread until `uploaded` returns.
    """

    @property
    def id(self) -> str:
        """The server's id of the job."""
        return self._twin.id

    @property
    def key(self) -> str:
        """The name that it was submitted under."""
        return self._twin.key

    status = _blocking(AsyncJob.status)
    watch = _iterating(AsyncJob.watch)
    wait = _blocking(AsyncJob.wait)
    result = _blocking(AsyncJob.result)
    handles = _blocking(AsyncJob.handles)
    uploaded = _blocking(AsyncJob.uploaded)
    cancel = _blocking(AsyncJob.cancel)
    delete = _blocking(AsyncJob.delete)


class Client(_Facade[AsyncClient]):
    """Computes on an arraymill server and waits for the answers. May be used from several threads.

    Use it as a context manager, or call `close`. Ctrl-C cancels the job on the server. Errors and the keywords `out`,
    `timeout` and `progress` are those of `AsyncClient`; `progress` is called on the background thread.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float | None = None,
        connect_timeout: float = CONNECT_SECONDS,
        retry_for: float = RETRY_SECONDS,
        frame_bytes: int = FRAME_BYTES,
        bulk: bool = True,
        shared: bool = True,
    ) -> None:
        """Prepare a client; the connection is made by the first call.

        Args:
            address: `host:port` or `unix:/path`; None: $ARRAYMILL_SERVER, else localhost:50051.
            timeout: Seconds that each call may take when it does not say; None: as long as its kind may.
            connect_timeout: Seconds that the server may take to answer the first call.
            retry_for: Seconds after its first failure in which a call is made again; 0: no call is ever made again.
            frame_bytes: Largest piece of an array in one message. Results do not depend on it.
            bulk: Send large arrays on a socket of their own beside gRPC where the server offers that and it can be
                reached; False: never. Results do not depend on it.
            shared: Let arrays not travel at all where the server is on this machine and shares memory; False: never.
                Results do not depend on it.

        Raises:
            ParameterError: The address, a time or a size is malformed.
        """
        super().__init__(
            AsyncClient(
                address,
                timeout=timeout,
                connect_timeout=connect_timeout,
                retry_for=retry_for,
                frame_bytes=frame_bytes,
                bulk=bulk,
                shared=shared,
            )
        )

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._twin.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = _closing(AsyncClient.close)

    compute = _blocking(AsyncClient.compute)
    transform = _blocking(AsyncClient.transform)

    sum = _blocking(AsyncClient.sum)
    prod = _blocking(AsyncClient.prod)
    mean = _blocking(AsyncClient.mean)
    var = _blocking(AsyncClient.var)
    std = _blocking(AsyncClient.std)
    min = _blocking(AsyncClient.min)
    max = _blocking(AsyncClient.max)
    ptp = _blocking(AsyncClient.ptp)
    argmin = _blocking(AsyncClient.argmin)
    argmax = _blocking(AsyncClient.argmax)
    any = _blocking(AsyncClient.any)
    all = _blocking(AsyncClient.all)
    count_nonzero = _blocking(AsyncClient.count_nonzero)

    submit = _giving_a_job(AsyncClient.submit)
    job = _giving_a_job(AsyncClient.job)
    jobs = _blocking(AsyncClient.jobs)

    empty = _blocking(AsyncClient.empty)
    put = _blocking(AsyncClient.put)
    get = _blocking(AsyncClient.get)
    array = _blocking(AsyncClient.array)
    delete = _blocking(AsyncClient.delete)
    list = _blocking(AsyncClient.list)

    info = _blocking(AsyncClient.info)
    advise = _blocking(AsyncClient.advise)
