"""Client and server on one machine: arrays that both have in memory are never copied.

`mill.empty` is `np.empty` in memory that the server has mapped too. Where the server is elsewhere, or belongs to
another user, it is np.empty itself, and everything works as over the network.

    python examples/same_host.py          # the server is $ARRAYMILL_SERVER, else localhost:50051
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

import arraymill as am

ELEMENTS = 4_000_000


def roots(mill: am.Client, values: np.ndarray) -> np.ndarray:
    """Return square roots: the workers read one array and write the other where they lie."""
    source, target = mill.empty(values.shape), mill.empty(values.shape)
    source[:] = values  # produce your data here at once, and this copy goes too
    mill.transform("sqrt", source, out=target)
    return target


def main() -> None:
    """Compare the two ways."""
    values = np.random.default_rng(4).random(ELEMENTS)
    with am.Client() as mill:
        x, y = mill.empty(ELEMENTS), mill.empty(ELEMENTS)
        x[:] = values
        print("shared with the server" if am.is_shared(x) else "no memory could be shared")
        for name, source, target in (("ordinary arrays", values, np.empty(ELEMENTS)), ("shared arrays", x, y)):
            mill.transform("sqrt", source, out=target)
            begin = perf_counter()
            mill.transform("sqrt", source, out=target)
            print(f"{name}: {1e3 * (perf_counter() - begin):.1f} ms")
        assert np.array_equal(roots(mill, values), np.sqrt(values))


if __name__ == "__main__":
    main()
