"""A test suite with a server of its own: `am.local` needs no set-up, and leaves nothing.

It starts in about a second, once for all tests.

    pip install '.[server]' pytest
    pytest examples/test_with_local.py
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import arraymill as am


def column_norms(mill: am.Client, x: np.ndarray) -> np.ndarray:
    """Return the lengths of the columns: what the tests are about."""
    a = am.asarray(x)
    norms: np.ndarray = mill.compute(np.sqrt((a * a).sum(axis=0)))
    return norms


@pytest.fixture(scope="session")
def mill() -> Iterator[am.Client]:
    """Start one server for all tests, on a Unix socket that only this user can reach."""
    with am.local(workers=2, arena="64MiB") as mill:
        yield mill


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1000, 40), (0, 4)])
def test_column_norms(mill: am.Client, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(5).normal(size=shape)
    np.testing.assert_allclose(column_norms(mill, x), np.linalg.norm(x, axis=0))


def test_a_vector_has_no_columns(mill: am.Client) -> None:
    with pytest.raises(ValueError, match="axis"):
        mill.compute(am.asarray(np.ones(3)).sum(axis=1))
