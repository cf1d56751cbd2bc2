"""Operators on the values of an expression, bounded on constants: a few characters must not cost minutes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

MAX_INTEGER_BITS: Final = 128
"""Longest integer constant: twice the longest integer dtype, so that `2**64 - 1` can be written."""


def fold(name: str, *operands: Any) -> Any:
    """Apply an operator.

    Args:
        name: Its name in the module operator.
        operands: Arrays or numbers.

    Raises:
        OverflowError: The result is an integer of more than `MAX_INTEGER_BITS` bits.
        ArithmeticError: Python refuses the numbers (division by zero).
        ArraymillError: What NumPy would raise for these arrays.
    """
    estimate = _ESTIMATES.get(name)
    if estimate is not None and all(isinstance(operand, int) for operand in operands):
        _check_bits(estimate(*operands))
    return bounded(getattr(operator, name)(*operands))


def bounded(value: Any) -> Any:
    """Return a value that is no integer of too many bits.

    Raises:
        OverflowError: It is one of more than `MAX_INTEGER_BITS` bits.
    """
    if isinstance(value, int):
        _check_bits(value.bit_length())
    return value


def _check_bits(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise OverflowError(f"an integer constant has more than {MAX_INTEGER_BITS} bits")


def _power_bits(base: int, exponent: int) -> int:
    """Return the least bits of base ** exponent; 0 where the result is a float or small."""
    return (abs(base).bit_length() - 1) * exponent if exponent > 0 and abs(base) > 1 else 0


def _shift_bits(value: int, count: int) -> int:
    return value.bit_length() + count if value and count > 0 else 0


_ESTIMATES: Final[dict[str, Callable[[int, int], int]]] = {"pow": _power_bits, "lshift": _shift_bits}
"""The operators whose results may be far longer than their operands, and how long they get at least."""
