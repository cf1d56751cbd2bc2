"""Jobs whose answers are known to the last bit: everything about one follows from a seed and its number.

Elements are small integers, drawn by Philox, a generator that is a function of its key. All sums, products and
differences of them are exact in float64 and int64, so NumPy's answer has the same bits in whatever order it is
computed, and one wrong byte is a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import arraymill as am

SMALLEST_BYTES: Final = 64 << 10
LARGEST_BYTES: Final = 32 << 20

KINDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "sum": lambda x: x.sum(),
    "columns": lambda x: x.sum(axis=0),
    "squares": lambda x: (x * x + 1).sum(axis=1),
    "roots": lambda x: np.sqrt(np.abs(x)),
    "centred": lambda x: x - x.max(),
    "running": lambda x: np.cumsum(x, axis=0),
    "extremes": lambda x: x.argmax(axis=1),
}
"""What is computed; each takes a lazy Array as well as an ndarray. Reductions and transforms, one pass and two."""


@dataclass(frozen=True, slots=True)
class OracleJob:
    """One job and its answer."""

    seed: int
    number: int
    kind: str
    x: NDArray[Any]

    @property
    def key(self) -> str:
        """The name under which it is submitted."""
        return f"chaos-{self.seed}-{self.number}"

    @property
    def expression(self) -> am.Array:
        """What to compute."""
        expression: am.Array = KINDS[self.kind](am.asarray(self.x))
        return expression

    def is_right(self, answer: Any) -> bool:
        """Whether an answer has NumPy's shape, dtype and elements."""
        known = np.asarray(KINDS[self.kind](self.x))
        found = np.asarray(answer)
        return found.shape == known.shape and found.dtype == known.dtype and np.array_equal(found, known)


def job_of(seed: int, number: int, largest: int = LARGEST_BYTES, smallest: int = SMALLEST_BYTES) -> OracleJob:
    """Return the job of a number; sizes in bytes are spread evenly over the orders of magnitude."""
    random = np.random.Generator(np.random.Philox(key=(seed << 64) | number))
    nbytes = int(smallest * (largest / smallest) ** random.random())
    columns = int(random.integers(1, 2000))
    shape = max(1, nbytes // 8 // columns), columns
    dtype = np.float64 if random.random() < 0.7 else np.int64
    x = random.integers(-1000, 1000, shape, dtype=np.int16).astype(dtype)
    return OracleJob(seed, number, str(random.choice(list(KINDS))), x)
