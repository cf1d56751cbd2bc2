"""How the text of options is read."""

from __future__ import annotations

import click
import numpy as np
import pytest

from arraymill.cli._options import PARAMS, read_axis, read_constant, read_dtype, read_number
from arraymill_proto.catalogue import OPERATIONS


@pytest.mark.parametrize(
    ("text", "axis"),
    [("0", 0), ("-1", -1), ("0,1", (0, 1)), ("(0, 2)", (0, 2)), ("1,", 1), ("()", ())],
)
def test_axes(text: str, axis: int | tuple[int, ...]) -> None:
    assert read_axis(text) == axis


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3), ("-2.5", -2.5), ("1e3", 1000.0), ("inf", np.inf), ("1+2j", 1 + 2j)]
)
def test_numbers(text: str, number: complex) -> None:
    assert read_constant(text) == number
    assert type(read_constant(text)) is type(number)


def test_dtypes() -> None:
    assert read_dtype("float32") == np.float32
    assert read_dtype("f4") == np.float32


@pytest.mark.parametrize("text", ["x", "0,x", "1.5", "0 1"])
def test_what_is_no_axis(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no axis"):
        read_axis(text)


def test_what_is_no_number_and_no_dtype() -> None:
    assert read_number("a.npy") is None
    with pytest.raises(click.BadParameter, match="'a' is no number"):
        read_constant("a")
    with pytest.raises(click.BadParameter, match="'object' is no dtype; there are bool, complex128"):
        read_dtype("object")


def test_every_parameter_of_the_catalogue_is_an_option() -> None:
    assert set(PARAMS) == {name for signature in OPERATIONS.values() for name in signature.params}
