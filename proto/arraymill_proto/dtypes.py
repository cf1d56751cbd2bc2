"""The dtypes of arraymill: the codes of the wire's enum DType and NumPy's dtypes, in one table."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from arraymill_proto.errors import DTypeError
from arraymill_proto.limits import shorten

DType: TypeAlias = np.dtype[np.generic]

CODES: Final[dict[int, DType]] = dict(
    enumerate(
        map(
            np.dtype,
            # The order is the wire's: append only.
            [
                np.bool_,
                *(np.int8, np.int16, np.int32, np.int64),
                *(np.uint8, np.uint16, np.uint32, np.uint64),
                *(np.float16, np.float32, np.float64),
                *(np.complex64, np.complex128),
            ],
        ),
        start=1,
    )
)
"""The native dtype of each code of the wire's enum DType."""

SUPPORTED: Final[tuple[DType, ...]] = tuple(CODES.values())
"""All dtypes that arrays can have, in native byte order."""

# kind and itemsize identify a supported dtype whatever its byte order and C name (long, long long).
_CODE_OF: Final = {(dtype.kind, dtype.itemsize): code for code, dtype in CODES.items()}


def is_supported(dtype: DTypeLike) -> bool:
    """Tell whether arrays of this dtype can be sent, in either byte order."""
    dtype = np.dtype(dtype)
    return (dtype.kind, dtype.itemsize) in _CODE_OF


def to_code(dtype: DTypeLike) -> int:
    """Return the wire's code of a dtype; the byte order is told apart by `is_big_endian`.

    Raises:
        DTypeError: Arrays of this dtype are not supported.
    """
    dtype = np.dtype(dtype)
    code = _CODE_OF.get((dtype.kind, dtype.itemsize))
    if code is None:
        raise DTypeError(f"dtype {shorten(str(dtype))} is not supported; {_HINT}", dtype=shorten(str(dtype)))
    return code


def from_code(code: int, big_endian: bool = False) -> DType:
    """Return the dtype of a code of the wire, little-endian unless told otherwise.

    Raises:
        DTypeError: The enum DType has no such code.
    """
    dtype = CODES.get(code)
    if dtype is None:
        raise DTypeError(f"dtype code {code} is unknown: the codes are 1 to {len(CODES)}; {_HINT}", code=code)
    return dtype.newbyteorder(">" if big_endian else "<")


def is_big_endian(dtype: DType) -> bool:
    """Tell whether elements lie in memory with their most significant byte first; False for single bytes."""
    return dtype.str[0] == ">"


def native(dtype: DTypeLike) -> DType:
    """Return the supported dtype in native byte order, as results have it.

    Raises:
        DTypeError: Arrays of this dtype are not supported.
    """
    return CODES[to_code(dtype)]


_HINT: Final = f"supported are {', '.join(map(str, SUPPORTED))}, in either byte order"
