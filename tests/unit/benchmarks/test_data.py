"""The data of all contestants, and how their answers are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.data import COLUMNS, WrongAnswerError, check, digest, numbers
from suite.task import Moved, Task

NBYTES = 8 * 5000
X = numbers(NBYTES)


def test_smaller_arrays_are_the_beginning_of_larger_ones() -> None:
    assert np.array_equal(numbers(2 * NBYTES)[:5000], X)
    assert digest(numbers(NBYTES)) == digest(X) != digest(numbers(NBYTES, 1))


def test_the_numbers_are_those_of_every_machine() -> None:
    assert digest(numbers(8 * 1000)) == DIGEST_OF_1000


DIGEST_OF_1000 = 826528704

a, b = X, numbers(NBYTES, 1)
SUM, ROOT, FUSED = float(X.sum()), np.sqrt(X), float(np.sqrt(a * a + b * b).sum())
ROWS = X[:COLUMNS].reshape(1, COLUMNS)
ANSWERS: dict[str, tuple[Any, Any]] = {
    "sum": (SUM, SUM * (1 + 1e-6)),
    "burst": ([SUM] * 3, [SUM, SUM, 1.0]),
    "mean": (X.mean(), SUM),
    "sqrt": (ROOT, np.where(X[-1] == X, 1.0, ROOT)),
    "fused": (FUSED, SUM),
    "columns": (np.sqrt(ROWS * ROWS + 1).mean(axis=0), np.ones(COLUMNS)),
    "rows": (np.sqrt(ROWS * ROWS + 1).mean(axis=1), np.ones(1)),
}


@pytest.mark.parametrize("work", ANSWERS)
def test_numpys_answers_are_right_and_others_are_not(work: str) -> None:
    right, wrong = ANSWERS[work]
    assert check(Task(work, NBYTES), right) is True
    with pytest.raises(WrongAnswerError, match="NumPy's is"):
        check(Task(work, NBYTES), wrong)


def test_an_array_of_another_length_is_wrong() -> None:
    with pytest.raises(WrongAnswerError, match="shape"):
        check(Task("sqrt", NBYTES), np.sqrt(X[:10]))


def test_who_only_moves_the_array_must_move_all_of_it() -> None:
    task = Task("sqrt", NBYTES)
    assert check(task, Moved(NBYTES)) is False
    assert check(task, Moved(NBYTES, X.copy())) is False
    for wrong in (Moved(NBYTES - 8), Moved(NBYTES, X + 1)):
        with pytest.raises(WrongAnswerError, match="arrived"):
            check(task, wrong)


def test_where_there_is_nothing_to_check_nothing_is() -> None:
    assert check(Task("import", NBYTES), None) is True
