"""The arrays, the same numbers in every process from one seed, and NumPy's answers."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from suite.task import Moved, Task

SEED: Final = 2026
TOLERANCE: Final = 1e-9
"""Relative: sums of 2**29 numbers in other orders agree to far less."""
PIECE: Final = 1 << 20
COLUMNS: Final = 4096
AXES: Final = {"columns": 0, "rows": 1}
"""The axis along which the works of axes reduce."""

Array = NDArray[np.float64]
_streams: dict[int, Array] = {}


class WrongAnswerError(Exception):
    """A contestant's answer is not NumPy's."""


def numbers(nbytes: int, stream: int = 0) -> Array:
    """Return float64 numbers between 0 and 1: the beginning of a stream of Philox, which is the same everywhere."""
    length = nbytes // 8
    if len(_streams.get(stream, ())) < length:
        _streams[stream] = np.random.Generator(np.random.Philox(SEED + stream)).random(length)
    return _streams[stream][:length]


def matrix(nbytes: int) -> NDArray[np.float64]:
    """Return the numbers as rows of `COLUMNS`, without what is left of the last one."""
    x = numbers(nbytes)
    return x[: len(x) // COLUMNS * COLUMNS].reshape(-1, COLUMNS)


def digest(array: Array) -> int:
    """Return a number by which two processes find that they have the same data."""
    return zlib.crc32(array.view(np.uint8).data)


def check(task: Task, answer: Any) -> bool:
    """Compare an answer with NumPy's; False where it was moved and nothing was computed.

    Raises:
        WrongAnswerError: it is another one.
    """
    x = numbers(task.nbytes)
    if isinstance(answer, Moved):
        came_back = answer.back is None or np.array_equal(answer.back, x)
        if answer.nbytes != x.nbytes or not came_back:
            raise WrongAnswerError(f"{answer.nbytes:,} of {x.nbytes:,} bytes arrived, or other ones came back")
    elif isinstance(answer, list):
        for each in answer:
            check(task, each)
    elif task.work == "sqrt":
        _compare_shapes(answer, x)
        for part, got in zip(_pieces(x), _pieces(np.asarray(answer)), strict=True):
            if not np.array_equal(got, np.sqrt(part)):  # IEEE 754 leaves no choice
                raise WrongAnswerError(f"the answer is {got!r}, NumPy's is {np.sqrt(part)!r}")
    elif answer is not None:
        _compare(answer, _expected(task, x))
    return not isinstance(answer, Moved)


def _expected(task: Task, x: Array) -> Any:
    if task.work in AXES:
        rows = matrix(task.nbytes)
        return np.sqrt(rows * rows + 1).mean(axis=AXES[task.work])
    if task.work == "fused":
        pairs = zip(_pieces(x), _pieces(numbers(task.nbytes, 1)), strict=True)
        return sum(float(np.sqrt(a * a + b * b).sum()) for a, b in pairs)
    return float(x.mean() if task.work == "mean" else x.sum())


def _compare_shapes(answer: Any, expected: Any) -> None:
    if np.shape(answer) != np.shape(expected):
        raise WrongAnswerError(f"the answer has the shape {np.shape(answer)}, NumPy's is {np.shape(expected)}")


def _compare(answer: Any, expected: Any) -> None:
    _compare_shapes(answer, expected)
    if not np.allclose(answer, expected, rtol=TOLERANCE, atol=0):
        raise WrongAnswerError(f"the answer is {answer!r}, NumPy's is {expected!r}")


def _pieces(array: Array) -> Iterator[Array]:
    return (array[start : start + PIECE] for start in range(0, len(array), PIECE))
