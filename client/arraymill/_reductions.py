"""The frequent reductions as methods, with NumPy's names and parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import DTypeLike

from arraymill._array import Axis, Operand, Scalar, asarray
from arraymill._info import ProgressCallback
from arraymill._layout import AnyArray

Result: TypeAlias = Any
"""An ndarray, or a NumPy scalar for results without dimensions: what NumPy would give."""

Outs: TypeAlias = "AnyArray | Sequence[AnyArray | None] | None"


class Reductions(ABC):
    """What a client computes in one word. Beside NumPy's parameters, each takes the keywords of every job."""

    @abstractmethod
    async def compute(
        self,
        *expressions: Operand,
        out: Outs = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Compute expressions in one job."""

    async def sum(
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
        value = asarray(x).sum(axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def prod(
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
        value = asarray(x).prod(axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def mean(
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
        value = asarray(x).mean(axis, dtype=dtype, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def var(
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
        value = asarray(x).var(axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def std(
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
        value = asarray(x).std(axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def min(
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
        value = asarray(x).min(axis, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def max(
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
        value = asarray(x).max(axis, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def ptp(
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
        value = asarray(x).ptp(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def argmin(
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
        value = asarray(x).argmin(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def argmax(
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
        value = asarray(x).argmax(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def any(
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
        value = asarray(x).any(axis, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def all(
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
        value = asarray(x).all(axis, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def count_nonzero(
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
        value = asarray(x).count_nonzero(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)
