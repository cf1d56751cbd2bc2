"""The synchronous client: the methods of `AsyncClient`, run on one background event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from arraymill._background import run
from arraymill._client import CONNECT_SECONDS, AsyncClient
from arraymill_proto.limits import FRAME_BYTES

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    """Return the same method without await: same parameters, same documentation."""

    @wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(method(self._mill, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]  # part of the class

    return call


class Client:
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
        frame_bytes: int = FRAME_BYTES,
        bulk: bool = True,
    ) -> None:
        """Prepare a client; the connection is made by the first call.

        Args:
            address: `host:port` or `unix:/path`; None: $ARRAYMILL_SERVER, else localhost:50051.
            timeout: Seconds that each call may take when it does not say; None: no limit.
            connect_timeout: Seconds that the server may take to answer the first call.
            frame_bytes: Largest piece of an array in one message. Results do not depend on it.
            bulk: Send large arrays on a socket of their own beside gRPC where the server offers that and it can be
                reached; False: never. Results do not depend on it.

        Raises:
            ParameterError: The address, a time or a size is malformed.
        """
        self._mill = AsyncClient(
            address, timeout=timeout, connect_timeout=connect_timeout, frame_bytes=frame_bytes, bulk=bulk
        )

    def __repr__(self) -> str:
        return repr(self._mill).replace("AsyncClient", type(self).__name__, 1)

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._mill.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = _blocking(AsyncClient.close)

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

    put = _blocking(AsyncClient.put)
    get = _blocking(AsyncClient.get)
    array = _blocking(AsyncClient.array)
    delete = _blocking(AsyncClient.delete)
    list = _blocking(AsyncClient.list)

    info = _blocking(AsyncClient.info)
