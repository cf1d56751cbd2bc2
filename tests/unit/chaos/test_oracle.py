"""Answers are known to the last bit, and one wrong bit is a wrong answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from chaos.oracle import KINDS, OracleJob, job_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import arraymill as am

X: NDArray[np.float64] = np.arange(-6.0, 6.0).reshape(3, 4)


def answer(job: OracleJob) -> NDArray[Any]:
    return np.array(KINDS[job.kind](job.x))


@pytest.mark.parametrize("kind", KINDS)
def test_one_wrong_byte_is_a_wrong_answer(kind: str) -> None:
    job = OracleJob(1, 2, kind, X)
    assert job.is_right(answer(job))
    for place in range(answer(job).nbytes):
        wrong = answer(job)
        np.atleast_1d(wrong).reshape(-1).view(np.uint8)[place] ^= 0x40
        assert not job.is_right(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_another_shape_or_dtype_is_a_wrong_answer(kind: str) -> None:
    job = OracleJob(1, 2, kind, X)
    assert not job.is_right(answer(job).astype(np.float32))
    assert not job.is_right(answer(job)[np.newaxis])
    assert not job.is_right(None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_is_the_job(kind: str) -> None:
    job = OracleJob(1, 2, kind, X)
    assert isinstance(job.expression, am.Array)
    assert (job.expression.shape, job.expression.dtype) == (answer(job).shape, answer(job).dtype)


@given(st.integers(0, 1 << 32), st.integers(0, 1 << 33))
def test_a_job_follows_from_its_seed_and_number(seed: int, number: int) -> None:
    job, same = (job_of(seed, number, largest=1 << 15, smallest=1 << 10) for _ in range(2))
    assert (job.kind, job.key) == (same.kind, same.key) == (job.kind, f"chaos-{seed}-{number}")
    assert job.x.dtype == same.x.dtype
    assert np.array_equal(job.x, same.x)
    assert job.x.nbytes <= max(1 << 15, 8 * job.x.shape[1])
    assert np.array_equal(job.x, job.x.round()), "sums of integers are exact"
