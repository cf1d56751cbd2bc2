"""What a kernel must know of an operation, as small values that travel to workers in messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

Weak = bool | int | float | complex


class Scalar(msgspec.Struct, frozen=True, array_like=True):
    """A constant: a weak Python scalar or an element of one dtype, as text that loses nothing."""

    kind: str
    """bool, int, float or complex for a weak scalar, else a dtype string such as <f4."""
    text: str
    """Python's repr of a weak scalar, else the element's bytes in hexadecimal."""

    @classmethod
    def of(cls, value: Weak | np.generic) -> Scalar:
        if isinstance(value, np.generic):
            return cls(value.dtype.str, value.tobytes().hex())
        return cls(type(value).__name__, repr(value))

    def value(self) -> Weak | np.generic:
        """Return the scalar itself: a Python scalar when weak, else a NumPy scalar."""
        reader = _WEAK.get(self.kind)
        if reader is not None:
            return reader(self.text)
        element: np.generic = np.frombuffer(bytes.fromhex(self.text), self.kind)[0]
        return element


def _read_bool(text: str) -> bool:
    return text == "True"


_WEAK: Final[dict[str, Callable[[str], Weak]]] = {"bool": _read_bool, "int": int, "float": float, "complex": complex}


class ReduceSpec(msgspec.Struct, frozen=True, array_like=True):
    """One reduction as a worker sees it: the operation, its axes within the block, its dtypes and parameters.

    Axes are never negative and never None; the partial of a block keeps reduced axes with length 1.
    """

    op: str
    """Name in the catalogue."""
    axes: tuple[int, ...]
    """Reduced axes of the domain, ascending."""
    source: str
    """dtype string of the argument (native byte order)."""
    result: str
    """dtype string of the final result (native byte order)."""
    dtype: str = ""
    """The caller's dtype= as a dtype string, empty when not given."""
    masked: bool = False
    """True when the reduction has a where= operand."""
    ddof: float = 0.0
    """Delta degrees of freedom of var and std."""
    initial: Scalar | None = None
    """The caller's initial=."""
    flat: tuple[int, ...] = ()
    """For argmin and argmax with axis=None: the shape of the whole domain, in which the index is counted in C order."""


class ScanSpec(msgspec.Struct, frozen=True, array_like=True):
    """One scan (cumsum, cumprod) along one axis of the block."""

    op: str
    axis: int
    """The axis within the block; with `flat`, the block is raveled in C order first and axis is 0."""
    source: str
    """dtype string of the argument."""
    result: str
    """dtype string of the result."""
    flat: bool = False
    """True for axis=None on an array of other than one dimension."""
