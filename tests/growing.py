"""Random expressions with NumPy's values, and how far from these the values of a job may be.

Elements are small integers, so most operations are exact in every dtype, whatever the order of summation: then results
must be equal. What rounds carries a bound of its error along, and does not enter what would magnify it (comparisons,
positions, divisions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from expressions import Expression
from hypothesis import strategies as st
from samples import broadcastable, integers, orders, samples
from strategies import axes, dtypes

from arraymill_proto.catalogue import OPERATIONS, Kind
from arraymill_proto.graph import NodeRef

LARGEST: Final = 1000.0
"""Values with greater elements are not used any further: no integer wraps, no sum leaves the exact integers by much."""

Rule: TypeAlias = Callable[[Sequence[float], Sequence[float], float], float]
"""(errors of the operands, their largest elements, rounding of the result's largest) → error of the result."""

SMOOTH: Final[dict[str, Rule]] = {
    "add": lambda e, m, u: e[0] + e[1] + u,
    "subtract": lambda e, m, u: e[0] + e[1] + u,
    "multiply": lambda e, m, u: e[0] * m[1] + e[1] * m[0] + e[0] * e[1] + u,
    "maximum": lambda e, m, u: max(e),
    "minimum": lambda e, m, u: max(e),
    "where": lambda e, m, u: max(e),
    "negative": lambda e, m, u: e[0],
    "absolute": lambda e, m, u: e[0] + u,
    "square": lambda e, m, u: 2 * e[0] * m[0] + e[0] ** 2 + u,
    "clip": lambda e, m, u: e[0],
    "min": lambda e, m, u: e[0],
    "max": lambda e, m, u: e[0],
    "ptp": lambda e, m, u: 2 * e[0] + u,
}
"""Operations that magnify errors moderately."""

SHARP: Final = [
    "equal", "less", "greater_equal", "logical_and", "logical_not", "sign", "floor_divide", "remainder", "divide",
    "sqrt", "astype", "var", "std", "any", "all", "count_nonzero", "argmin", "argmax",
]  # fmt: skip
"""Operations that take exact operands only."""

SUMS: Final = ("sum", "cumsum", "mean")
NAMES: Final = [*SMOOTH, *SHARP, *SUMS, *SUMS, "cumsum"]
ROUNDED: Final = ("divide", "sqrt", "var", "std", "mean")
"""Operations whose results are seldom integers, not even of integers."""


class Grower:
    """Grows an expression, and notes how far each value may be from NumPy's.

    Args:
        data: Draws what there is to choose.
        has_residents: Whether some arrays lie in the arena.
    """

    def __init__(self, data: st.DataObject, *, has_residents: bool = True) -> None:
        self.e = Expression()
        self._data = data
        self._has_residents = has_residents
        self.errors: dict[int, float] = {}
        """The nodes that may be used further."""

    def plant(self) -> None:
        """Add inputs and constants."""
        shape = self._draw(st.lists(st.integers(1, 4), max_size=3).map(tuple))
        for _ in range(self._draw(st.integers(1, 3))):
            x = self._draw(samples(integers, dtype=dtypes(), shape=broadcastable(shape) | st.just(shape)))
            is_resident = self._has_residents and x.dtype.isnative and self._draw(st.booleans())
            node = self.e.resident(x) if is_resident else self.e.input(x, self._draw(orders(x.ndim)))
            self.errors[node] = 0
        constant = self._draw(st.sampled_from([2, -1, 3.0, True, np.float32(2), np.int16(3)]))
        self.errors[self.e.constant(constant)] = 0

    def grow(self) -> None:
        """Add an operation, or check that what NumPy refuses is refused."""
        name = self._draw(st.sampled_from(NAMES))
        usable = [node for node, error in self.errors.items() if not error or name not in SHARP]
        args = [self._draw(st.sampled_from(usable)) for _ in range(OPERATIONS[name].max_args)]
        if name == "where" and self.errors[args[0]]:
            return
        params = self._params(name, args[0])
        try:
            node = self.e.apply(name, *args, **params)
        except (TypeError, ValueError, OverflowError) as error:
            self.e.check_refusal(error, name, *args, **params)
            return
        self._note(node, name, args)

    def tolerance(self, node: int) -> float:
        """NumPy and the job may each be wrong by the bound."""
        return 4 * self.errors[node]

    def outputs(self) -> list[int]:
        """Choose some values: the last one, and others."""
        nodes = sorted(self.errors)
        return [nodes[-1], *self._draw(st.lists(st.sampled_from(nodes), max_size=4))]

    def _draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self._data.draw(strategy)

    def _params(self, name: str, arg: int) -> dict[str, Any]:
        value = np.asarray(self.e.values[arg])
        if name == "astype":
            return {"dtype": np.dtype(self._draw(st.sampled_from([np.int64, np.float64, np.complex128])))}
        if name == "clip":
            return {"min": NodeRef(self.e.constant(-2)), "max": NodeRef(self.e.constant(np.int8(50)))}
        kind = OPERATIONS[name].kind
        if kind is Kind.SCAN:
            return {"axis": self._draw(axes(value.ndim, tuples=False))}
        if kind is not Kind.REDUCTION:
            return {}
        params: dict[str, Any] = {
            "axis": self._draw(axes(value.ndim, tuples=not name.startswith("arg"))),
            "keepdims": self._draw(st.booleans()),
        }
        masks = [n for n, e in self.errors.items() if self._is_mask(n, value.shape) and not e]
        if name in ("sum", "any", "all") and masks and self._draw(st.booleans()):
            params["where"] = NodeRef(self._draw(st.sampled_from(masks)))
        return params

    def _is_mask(self, node: int, shape: tuple[int, ...]) -> bool:
        mask = np.asarray(self.e.values[node])
        if mask.dtype != np.bool_:
            return False
        try:
            return np.broadcast_shapes(mask.shape, shape) == shape
        except ValueError:
            return False

    def _note(self, node: int, name: str, args: list[int]) -> None:
        """Bound the error of a new value; leave it alone if it is too large to go on with."""
        values = [np.asarray(self.e.values[arg]) for arg in args]
        answer = np.asarray(self.e.values[node])
        largest = [_largest(value) for value in (*values, answer)]
        if not largest[-1] <= LARGEST:
            return
        errors, unit = [self.errors[arg] for arg in args], _unit(answer)
        if not any(errors) and name not in ROUNDED and _is_exact(answer, values[0].size * largest[0]):
            self.errors[node] = 0
        elif name in SUMS:
            count = max(1, values[0].size)
            self.errors[node] = count * (errors[0] + unit * count * largest[0])
        elif name in ("var", "std"):
            error = unit * (values[0].size + 8) * largest[0] ** 2
            self.errors[node] = error if name == "var" else float(np.sqrt(error))
        else:
            rounding = unit * largest[-1]
            self.errors[node] = rounding if name in SHARP else SMOOTH[name](errors[-2:], largest[-3:-1], rounding)


def _largest(value: Any) -> float:
    return float(np.max(np.abs(value.astype(np.complex128)), initial=0))


def _unit(answer: Any) -> float:
    return float(np.finfo(answer.dtype).eps) if answer.dtype.kind in "fc" else 0.0


def _is_exact(answer: Any, most: float) -> bool:
    """True for integers that no order of summation can round."""
    if answer.dtype.kind not in "fc":
        return True
    is_integer = np.array_equal(answer, np.rint(answer))
    return is_integer and max(most, _largest(answer)) < 1 / _unit(answer)
