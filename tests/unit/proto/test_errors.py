"""The tree of errors and its tables."""

from __future__ import annotations

import re

import grpc
import numpy as np
import pytest

from arraymill_proto import errors
from arraymill_proto.errors import (
    ERRORS,
    STATUS,
    ArraymillError,
    AxisError,
    BusyError,
    InvalidJobError,
    Reason,
    ShapeError,
)


def classes() -> list[type[ArraymillError]]:
    """Return every class of the tree that may cross the wire: those of the contract."""
    found = [ArraymillError]
    for cls in found:
        found.extend(below for below in cls.__subclasses__() if below.__module__ == ArraymillError.__module__)
    return found


def test_every_reason_has_a_class_and_a_status() -> None:
    assert set(ERRORS) == set(STATUS) == set(Reason)
    assert set(STATUS.values()) <= {status.name for status in grpc.StatusCode}


def test_every_class_is_that_of_its_own_reason() -> None:
    for cls in classes():
        if cls is not ArraymillError:
            assert ERRORS[cls.default_reason] is cls
    assert set(ERRORS.values()) == {*classes()} - {ArraymillError}


@pytest.mark.parametrize("reason", Reason)
def test_every_error_keeps_message_reason_and_details(reason: Reason) -> None:
    error = ERRORS[reason]("12 of 7", reason=reason, node=3)
    assert str(error) == error.message == "12 of 7"
    assert error.reason is reason
    assert error.details["node"] == "3"
    moved = error.located("node 4, ", node=4)
    assert type(moved) is type(error)
    assert (str(moved), moved.reason, moved.details) == ("node 4, 12 of 7", reason, {**error.details, "node": "4"})


def test_the_docstring_shows_the_tree() -> None:
    shown = dict(re.findall(r"[├└]── (\w+)(?:\(([\w.]+)\))?", errors.__doc__ or ""))
    assert set(shown) == {cls.__name__ for cls in classes()} - {"ArraymillError"}
    for cls in classes():
        outside = [base.__name__ for base in cls.__bases__ if not issubclass(base, ArraymillError)]
        assert (
            outside == ([shown[cls.__name__].rsplit(".")[-1]] if shown.get(cls.__name__) else [])
            or cls is ArraymillError
        )


def test_an_axis_error_is_numpys_and_prints_our_message() -> None:
    error = AxisError("sum: axis 5 is out of bounds for array of dimension 2", axis=5, ndim=2)
    assert isinstance(error, np.exceptions.AxisError)
    assert isinstance(error, (ValueError, IndexError))
    assert str(error) == "sum: axis 5 is out of bounds for array of dimension 2"
    assert (error.axis, error.ndim) == (5, 2)
    assert AxisError("duplicate", axis="many").axis is None


def test_busy_says_when_to_try_again() -> None:
    error = BusyError("12 jobs wait", retry_after=2.5)
    assert error.retry_after == 2.5
    assert BusyError("12 jobs wait", retry_after=error.details["retry_after"]).retry_after == 2.5
    assert error.located("here: ").retry_after == 2.5


def test_numpy_users_catch_what_they_know() -> None:
    known = {
        Reason.AXIS: IndexError,
        Reason.SHAPE: ValueError,
        Reason.DTYPE: TypeError,
        Reason.PARAMETER: TypeError,
        Reason.INTEGER_OVERFLOW: OverflowError,
        Reason.TOO_LARGE: MemoryError,
        Reason.DEADLINE: TimeoutError,
        Reason.UNAVAILABLE: ConnectionError,
        Reason.ARRAY_NOT_FOUND: LookupError,
    }
    for reason, cls in known.items():
        assert issubclass(ERRORS[reason], cls)
    assert issubclass(ShapeError, InvalidJobError)
