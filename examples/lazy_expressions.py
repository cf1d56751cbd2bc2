"""Expressions: NumPy's functions and operators build them, the server computes them in fused passes over the blocks.

No array is copied for an expression, and none is sent before `compute`.

    python examples/lazy_expressions.py   # the server is $ARRAYMILL_SERVER, else localhost:50051
"""

from __future__ import annotations

import numpy as np

import arraymill as am


def lengths(mill: am.Client, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean length of the vectors (x, y) of each column, in one pass."""
    a, b = am.asarray(x), am.asarray(y)  # no copy, no traffic
    length = np.sqrt(a * a + b * b)
    assert length.shape == x.shape  # known before anything is sent; a mistake would have raised here
    means: np.ndarray = mill.compute(length.mean(axis=0))
    return means


def standardised(mill: am.Client, x: np.ndarray) -> np.ndarray:
    """Return x with mean 0 and deviation 1: two passes over x, in which no temporary of its size exists."""
    a = am.asarray(x)
    value: np.ndarray = mill.compute((a - a.mean(axis=0)) / a.std(axis=0))
    return value


def summary(mill: am.Client, x: np.ndarray) -> dict[str, float]:
    """Return several figures by one job: x is sent once, and read once."""
    a = am.asarray(x)
    least, most, mean, missing = mill.compute(a.min(), a.max(), a.mean(where=~np.isnan(a)), np.isnan(a).sum())
    return {"least": float(least), "most": float(most), "mean": float(mean), "missing": int(missing)}


def main() -> None:
    """Compute all three."""
    random = np.random.default_rng(1)
    x, y = random.normal(size=(2, 5_000, 200))
    with am.Client() as mill:
        print("mean length of the first vectors:", lengths(mill, x, y)[:3])
        print("largest of the standardised:", np.abs(standardised(mill, x)).max())
        print("summary:", summary(mill, x))


if __name__ == "__main__":
    main()
