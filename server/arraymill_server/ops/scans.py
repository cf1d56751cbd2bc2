"""Scans: cumsum and cumprod, block by block.

A scanned block begins anew, as if nothing stood before it; its *total* is what its last element says of the block. The
*carry* of a block is the total of all blocks before it. A following program applies the carry to the block with the
kernel "scan.add" or "scan.multiply" (`PLANNER_KERNELS`).

Total and carry are tuples of arrays in the block's dimensions with the scanned axis of length 1 (for a flat scan: of
one element): first the value in the wide dtype, in which carries are joined, and last the value in the dtype of the
result, which is the operand of the kernel. Where the two dtypes are equal there is one component, first and last.

Within a block the scan runs piece by piece in the wide dtype, each piece going on from the total so far: a block of
float64, complex128 or integers has NumPy's bits, and narrower floats are rounded once instead of at every element.
The identity of addition is -0.0, so that a sum of negative zeros keeps its sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from arraymill_server.ops.casting import Array, DType, cast_into, wide_dtype
from arraymill_server.ops.elementwise import PLANNER_KERNELS
from arraymill_server.ops.spec import ScanSpec

Parts: TypeAlias = tuple[Array, ...]


def _rounded(x: Array, dtype: DType) -> Array:
    """Return the elements of `x` cast to `dtype`."""
    elements = np.empty(x.shape, dtype)
    cast_into(elements, x)
    return elements


@dataclass(frozen=True, slots=True)
class ScanKind:
    """One scan."""

    name: str
    ufunc: np.ufunc
    neutral: float
    """What changes nothing: its real part,"""
    neutral_imag: float
    """and its imaginary part, of complex scans."""
    kernel: str
    """The elementwise kernel that applies a carry."""

    def components(self, spec: ScanSpec) -> tuple[DType, ...]:
        """Return the dtypes of a total or carry; the last one is the dtype of the result."""
        result = np.dtype(spec.result)
        wide = wide_dtype(result)
        return (result,) if wide == result else (wide, result)

    def step(self, spec: ScanSpec, x: Array, out: Array, total: Parts, *, first: bool) -> None:
        """Scan one piece into `out`, going on from `total` unless `first`, and leave the new total there.

        `x` and `out` are of one shape, and of one dimension when the scan is flat.
        """
        axis = 0 if spec.flat else spec.axis
        result, wide = np.dtype(spec.result), total[0].dtype
        elements = np.empty(x.shape, wide)
        cast_into(elements, x if result in (x.dtype, wide) else _rounded(x, result))
        head, last = np.s_[(*(slice(None),) * axis, slice(1))], np.s_[(*(slice(None),) * axis, slice(-1, None))]
        if not first:
            self.ufunc(total[0], elements[head], out=elements[head])
        scanned = self.ufunc.accumulate(elements, axis, out=out if wide == result else None)
        total[0][...] = scanned[last]
        if wide != result:
            cast_into(out, scanned)
            cast_into(total[-1], total[0])

    def identity(self, spec: ScanSpec, parts: Parts) -> None:
        """Fill the total of no elements."""
        for part in parts:
            np.real(part).fill(self.neutral)
            if part.dtype.kind == "c":
                np.imag(part).fill(self.neutral_imag)

    def carry(self, spec: ScanSpec, carry: Parts, total: Parts, out: Parts) -> None:
        """Join the carry of a block and its total to the carry of the next block, in other memory."""
        PLANNER_KERNELS[self.kernel]((total[0], carry[0]), out[0], {})
        if len(out) > 1:
            cast_into(out[-1], out[0])


SCANS: Final[dict[str, ScanKind]] = {
    "cumsum": ScanKind("cumsum", np.add, -0.0, -0.0, "scan.add"),
    "cumprod": ScanKind("cumprod", np.multiply, 1.0, 0.0, "scan.multiply"),
}
"""Every scan of the catalogue."""
