"""The synchronous client: the same methods as `AsyncClient`, run on one background event loop."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import DTypeLike

from arraymill._array import Array, Axis, Handle, Operand, Scalar
from arraymill._background import run
from arraymill._client import CONNECT_SECONDS, AsyncClient, Outs, Result
from arraymill._info import ArrayInfo, ProgressCallback, ServerInfo
from arraymill._layout import AnyArray


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
    ) -> None:
        """Prepare a client; the connection is made by the first call.

        Args:
            address: `host:port` or `unix:/path`; None: $ARRAYMILL_SERVER, else localhost:50051.
            timeout: Seconds that each job may take when the call does not say; None: no limit.
            connect_timeout: Seconds that the server may take to answer the first call.

        Raises:
            ParameterError: The address or a time is malformed.
        """
        self._mill = AsyncClient(address, timeout=timeout, connect_timeout=connect_timeout)

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

    def close(self) -> None:
        """Close the connection; jobs that other threads wait for fail with ConnectionFailedError."""
        run(self._mill.close())

    # ------------------------------------------------------------------ jobs

    def compute(
        self,
        *expressions: Operand,
        out: Outs = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Compute expressions in one job; what they share is read and computed once.

        Args:
            *expressions: Arrays, or anything that `asarray` takes.
            out: The array to fill, or one (or None) for each expression.
            timeout: Seconds; None: the client's.
            progress: Called now and then.

        Returns:
            The value; for several expressions a tuple of values. Memory order is that of the inputs, as in NumPy.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        return run(self._mill.compute(*expressions, out=out, timeout=timeout, progress=progress))

    def transform(
        self,
        name: str,
        *arrays: Operand,
        out: Outs = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        **params: Any,
    ) -> Result:
        """Apply one operation of the catalogue: elementwise functions, scans, reductions.

        Args:
            name: NumPy's name: "sqrt", "add", "clip", "cumsum", …
            *arrays: The operands.
            out: The array to fill.
            timeout: Seconds; None: the client's.
            progress: Called now and then.
            **params: NumPy's parameters of the operation: axis, dtype, min, max, …
        """
        return run(self._mill.transform(name, *arrays, out=out, timeout=timeout, progress=progress, **params))

    def sum(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Sum of elements, as np.sum."""
        return run(
            self._mill.sum(
                x,
                axis,
                dtype=dtype,
                keepdims=keepdims,
                initial=initial,
                where=where,
                out=out,
                timeout=timeout,
                progress=progress,
            )
        )

    def prod(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Product of elements, as np.prod."""
        return run(
            self._mill.prod(
                x,
                axis,
                dtype=dtype,
                keepdims=keepdims,
                initial=initial,
                where=where,
                out=out,
                timeout=timeout,
                progress=progress,
            )
        )

    def mean(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Arithmetic mean, as np.mean."""
        return run(
            self._mill.mean(
                x, axis, dtype=dtype, keepdims=keepdims, where=where, out=out, timeout=timeout, progress=progress
            )
        )

    def var(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Variance, divided by n - ddof, as np.var."""
        return run(
            self._mill.var(
                x,
                axis,
                dtype=dtype,
                ddof=ddof,
                keepdims=keepdims,
                where=where,
                out=out,
                timeout=timeout,
                progress=progress,
            )
        )

    def std(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Standard deviation, the square root of the variance, as np.std."""
        return run(
            self._mill.std(
                x,
                axis,
                dtype=dtype,
                ddof=ddof,
                keepdims=keepdims,
                where=where,
                out=out,
                timeout=timeout,
                progress=progress,
            )
        )

    def min(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Least element, as np.min."""
        return run(
            self._mill.min(
                x, axis, keepdims=keepdims, initial=initial, where=where, out=out, timeout=timeout, progress=progress
            )
        )

    def max(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Greatest element, as np.max."""
        return run(
            self._mill.max(
                x, axis, keepdims=keepdims, initial=initial, where=where, out=out, timeout=timeout, progress=progress
            )
        )

    def ptp(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Greatest minus least element, as np.ptp."""
        return run(self._mill.ptp(x, axis, keepdims=keepdims, out=out, timeout=timeout, progress=progress))

    def argmin(
        self,
        x: Operand,
        axis: int | None = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Index of the first least element, as np.argmin."""
        return run(self._mill.argmin(x, axis, keepdims=keepdims, out=out, timeout=timeout, progress=progress))

    def argmax(
        self,
        x: Operand,
        axis: int | None = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Index of the first greatest element, as np.argmax."""
        return run(self._mill.argmax(x, axis, keepdims=keepdims, out=out, timeout=timeout, progress=progress))

    def any(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Whether some element is true, as np.any."""
        return run(self._mill.any(x, axis, keepdims=keepdims, where=where, out=out, timeout=timeout, progress=progress))

    def all(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Whether every element is true, as np.all."""
        return run(self._mill.all(x, axis, keepdims=keepdims, where=where, out=out, timeout=timeout, progress=progress))

    def count_nonzero(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Number of elements other than zero, as np.count_nonzero."""
        return run(self._mill.count_nonzero(x, axis, keepdims=keepdims, out=out, timeout=timeout, progress=progress))

    # ------------------------------------------------------------------ resident arrays

    def put(
        self,
        x: Operand,
        *,
        name: str = "",
        ttl: float | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Handle:
        """Keep the value of an array or expression on the server.

        Args:
            x: An ndarray, or an expression, which is computed there and does not travel.
            name: A name under which other programs find it; it must be free.
            ttl: Seconds after the last use until the server deletes it; None: the server's default.
            timeout: Seconds; None: the client's.
            progress: Called now and then.

        Raises:
            ArrayExistsError: The name is taken.
            TooLargeError: It can never fit.
            BusyError: The server's budget of resident arrays is spent now.
        """
        return run(self._mill.put(x, name=name, ttl=ttl, timeout=timeout, progress=progress))

    def get(
        self,
        array: Array,
        *,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Fetch a resident array or a slice of one; only the slice travels."""
        return run(self._mill.get(array, out=out, timeout=timeout, progress=progress))

    def array(self, id: str, *, timeout: float | None = None) -> Handle:
        """Return the handle of a resident array, by id or name.

        Raises:
            ArrayNotFoundError: There is none.
        """
        return run(self._mill.array(id, timeout=timeout))

    def delete(self, array: Handle | str, *, timeout: float | None = None) -> None:
        """Delete a resident array, by handle, id or name; jobs that read it end undisturbed.

        Raises:
            ArrayNotFoundError: There is none.
        """
        return run(self._mill.delete(array, timeout=timeout))

    def list(self, *, timeout: float | None = None) -> tuple[ArrayInfo, ...]:
        """List the resident arrays, oldest first."""
        return run(self._mill.list(timeout=timeout))

    # ------------------------------------------------------------------ the server

    def info(self, *, timeout: float | None = None) -> ServerInfo:
        """Ask the server for its versions, limits, operations and load."""
        return run(self._mill.info(timeout=timeout))
