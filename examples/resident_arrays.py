"""Arrays that stay on the server: sent once, used by many expressions, read by slices, found by name.

They count against the server's --resident-budget, and go by themselves some time after their last use.

    python examples/resident_arrays.py    # the server is $ARRAYMILL_SERVER, else localhost:50051
"""

from __future__ import annotations

import numpy as np

import arraymill as am

NAME = "example/measurements"


def keep(mill: am.Client, x: np.ndarray) -> am.Handle:
    """Send an array once. Ten minutes after its last use it goes by itself."""
    return mill.put(x, name=NAME, ttl=600)


def outliers(mill: am.Client, bound: float) -> int:
    """Return how many elements lie far from the mean: any program can, by the name; the array does not travel."""
    h = mill.array(NAME)
    return int(mill.compute(np.count_nonzero(abs(h - h.mean()) > bound * h.std())))


def smooth(mill: am.Client) -> am.Handle:
    """Keep the value of an expression; neither its operands nor its value travel."""
    h = mill.array(NAME)
    return mill.put((h[:-2] + h[1:-1] + h[2:]) / 3)


def main() -> None:
    """Keep an array, use it three times, and delete it."""
    x = np.random.default_rng(2).normal(size=500_000)
    with am.Client() as mill:
        h = keep(mill, x)
        try:
            print("outliers:", outliers(mill, 3.0))
            smoothed = smooth(mill)
            print("first of the smoothed:", mill.get(smoothed[:4]))  # 32 bytes travel
            mill.delete(smoothed)
        finally:
            mill.delete(h)


if __name__ == "__main__":
    main()
