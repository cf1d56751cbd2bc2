"""The work of a mix: every operation of the catalogue has a job, and an answer that NumPy would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arraymill._text.errors import InputError
from arraymill.load._mix import read_entry
from arraymill.load._work import Work, check_entry, prepare
from arraymill_proto.catalogue import OPERATIONS


def work(text: str) -> Work:
    return prepare(read_entry(text), seed=0, is_checked=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_of_the_catalogue_may_be_named(name: str) -> None:
    made = work(f"{name}:1KiB")
    assert len(made.expected) == len(made.job.results)
    assert all(np.shape(answer) == type.shape for answer, type in zip(made.expected, made.job.results, strict=True))
    assert made.is_right(made.expected)


def test_names_tell_the_dtype_that_was_chosen() -> None:
    assert work("sum:1KiB").name == "sum 1KiB float64 auto"
    assert work("gcd:10x10:grpc").name == "gcd 10x10 int64 grpc"
    assert work("sum:1KiB:float32").name == "sum 1KiB float32 auto"


def test_an_expression_has_an_array_for_each_name() -> None:
    made = work("((a - a.mean()) * b / pi).sum(axis=0):20x30:float32")
    assert [array.shape for array in made.job.inputs] == [(20, 30), (20, 30)]
    a, b = made.job.inputs
    assert made.is_right([((a - a.mean()) * b / np.pi).sum(axis=0)])


def test_a_wrong_answer_is_wrong() -> None:
    made = work("sqrt:1KiB")
    right: Any = made.expected[0].copy()
    assert made.is_right([right * (1 + 1e-14)])
    assert not made.is_right([right * (1 + 1e-6)])
    assert not made.is_right([right.astype(np.float32)])
    assert not made.is_right([right[:-1]])
    right[0] = np.nan
    assert not made.is_right([right])
    assert not work("argmax:1KiB").is_right([np.int64(-1)])


def test_nan_equals_nan() -> None:
    made = work("(a * nan):1KiB")
    assert made.is_right([np.full(128, np.nan)])
    assert not made.is_right([np.zeros(128)])


def test_nothing_is_computed_where_nothing_is_checked() -> None:
    assert prepare(read_entry("sum:1KiB"), seed=0, is_checked=False).expected == ()


def test_arrays_need_no_memory_to_be_checked() -> None:
    assert check_entry(read_entry("sum:1TiB")) == "sum 1TiB float64 auto"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("smu:1KiB", "there is no operation 'smu': did you mean sum"),
        ("gcd:1KiB:float64", "the entry 'gcd' of the mix"),
        ("x.sum(axis=3):1KiB", "axis 3 is out of bounds"),
        ("1 + 1:1KiB", "names no array"),
        ("a +:1KiB", "the entry 'a +' of the mix"),
        ("sum:1MiB:inline", "moves 1 MiB, inline is for jobs of at most 64 KiB each way"),
        ("sum:1MiB:bulk", "bulk is for arrays of at least 8 MiB"),
        ("sum:1KiB:memory", "memory is for arrays of at least 1 MiB"),
        ("sum:99000000TB", "the entry 'sum' of the mix"),
    ],
)
def test_what_has_no_meaning_is_told(text: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        check_entry(read_entry(text))
    assert line in str(caught.value)
