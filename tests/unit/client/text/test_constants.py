"""Constants of expressions: Python's arithmetic within bounds."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill._text.constants import MAX_INTEGER_BITS, bounded, fold

NAMES = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor", "lshift", "rshift", "lt", "eq"]
NUMBERS = st.one_of(
    st.integers(-(2**MAX_INTEGER_BITS) + 1, 2**MAX_INTEGER_BITS - 1), st.integers(-200, 200), st.floats(), st.booleans()
)


@given(st.sampled_from(NAMES), NUMBERS, NUMBERS)
def test_python_arithmetic_or_a_typed_refusal(name: str, a: Any, b: Any) -> None:
    python = getattr(operator, name)
    try:
        value = fold(name, a, b)
    except OverflowError:
        if not isinstance(a, int) or not isinstance(b, int) or name == "truediv":
            with pytest.raises(OverflowError):
                python(a, b)
        elif b <= 1000 or name not in {"pow", "lshift"}:
            assert python(a, b).bit_length() > MAX_INTEGER_BITS
    except (ArithmeticError, TypeError, ValueError) as exc:
        with pytest.raises(type(exc)):
            python(a, b)
    else:
        assert str(value) == str(python(a, b))


@pytest.mark.parametrize(("a", "b"), [(2, 127), (-2, 127), (1, 10**9), (-1, 10**9), (0, 10**9), (2, -(10**9)), (3, 80)])
def test_powers_within_the_bound(a: int, b: int) -> None:
    assert fold("pow", a, b) == a**b


@pytest.mark.parametrize(
    ("name", "a", "b"), [("pow", 2, 128), ("pow", 10**9, 10**9), ("lshift", 1, 10**12), ("mul", 2**127, 2)]
)
def test_beyond_the_bound_nothing_is_computed(name: str, a: int, b: int) -> None:
    with pytest.raises(OverflowError, match="more than 128 bits"):
        fold(name, a, b)


def test_long_literals_are_refused() -> None:
    assert bounded(2**128 - 1) == 2**128 - 1
    with pytest.raises(OverflowError):
        bounded(-(2**128))
