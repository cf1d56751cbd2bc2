"""Expressions that are computed twice: node by node by NumPy, and as a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
from oracle import numpy_answer
from strategies import Array
from ways import Way

from arraymill_proto.graph import (
    ArrayType,
    Constant,
    Graph,
    Input,
    Node,
    NodeRef,
    Operation,
    Order,
    ParamValue,
    Resident,
    Weak,
)
from arraymill_proto.validate import infer_graph

Tolerance: TypeAlias = Array | float
"""Greatest absolute difference, for each element or for all. 0: the same bits, but for NaNs."""

_RAISED: Final = (np.exceptions.AxisError, OverflowError, TypeError, ValueError)
"""What NumPy raises and its users catch, the most special first."""


class Expression:
    """A graph that grows, and NumPy's value of each node."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.residents: dict[int, Array] = {}
        self.values: list[Any] = []
        self._nodes: list[Node] = []

    def input(self, array: Array, order: Order | None = None) -> int:
        """Add an array that is streamed; return its node."""
        self.arrays.append(array)
        return self._add(Input(array.shape, array.dtype, order), array.astype(array.dtype.newbyteorder("=")))

    def resident(self, array: Array) -> int:
        """Add an array that lies in the arena as it lies in memory here; return its node."""
        self.residents[len(self._nodes)] = array
        return self._add(Resident(f"array {len(self._nodes)}"), array)

    def constant(self, value: Weak | np.generic) -> int:
        """Add a scalar; return its node."""
        return self._add(Constant(value), value)

    def apply(self, name: str, *args: int, **params: Any) -> int:
        """Add an operation; return its node. Parameters that are None are left out, as on the wire.

        Raises:
            Exception: What NumPy raises; then nothing is added.
        """
        node = _operation(name, args, params)
        given = {key: self.values[one.node] if isinstance(one, NodeRef) else one for key, one in node.params.items()}
        return self._add(node, numpy_answer(name, [self.values[arg] for arg in args], given))

    def graph(self, *outputs: int) -> Graph:
        return Graph(tuple(self._nodes), outputs)

    def graph_with(self, name: str, *args: int, **params: Any) -> Graph:
        """Return the graph with one more operation, which NumPy may refuse, as its output."""
        return Graph((*self._nodes, _operation(name, args, params)), (len(self._nodes),))

    def type_of(self, node: Resident) -> ArrayType:
        """Give the type of a resident array, for `infer_graph`."""
        array = self.residents[self._nodes.index(node)]
        return ArrayType(array.shape, array.dtype)

    def run(self, way: Way, *outputs: int) -> list[Array]:
        """Run the job."""
        return way.run(self.graph(*outputs), self.arrays, self.residents)

    def check(self, way: Way, *outputs: int, tolerance: Tolerance | list[Tolerance] = 0) -> list[Array]:
        """Run the job and compare its results with NumPy's values."""
        results = self.run(way, *outputs)
        tolerances = tolerance if isinstance(tolerance, list) else [tolerance] * len(outputs)
        for ours, node, bound in zip(results, outputs, tolerances, strict=True):
            assert_same(ours, np.asarray(self.values[node]), bound)
        return results

    def check_refusal(self, error: Exception, name: str, *args: int, **params: Any) -> None:
        """Check that a job is refused with the class of the error that NumPy raises for an operation."""
        wanted = next(kind for kind in _RAISED if isinstance(error, kind))
        with pytest.raises(wanted):
            infer_graph(self.graph_with(name, *args, **params), self.type_of)

    def _add(self, node: Node, value: Any) -> int:
        self._nodes.append(node)
        self.values.append(value)
        return len(self._nodes) - 1


def _operation(name: str, args: Sequence[int], params: dict[str, Any]) -> Operation:
    given: dict[str, ParamValue] = {key: value for key, value in params.items() if value is not None}
    return Operation(name, tuple(args), given)


def assert_same(ours: Array, numpys: Array, tolerance: Tolerance = 0) -> None:
    """Compare shape, dtype and elements; see `Tolerance`."""
    assert ours.shape == numpys.shape
    assert ours.dtype == numpys.dtype
    if ours.dtype.kind not in "fc":
        np.testing.assert_array_equal(ours, numpys)
    elif isinstance(tolerance, int | float) and not tolerance:
        np.testing.assert_array_equal(ours, numpys)
        for part in (np.real, np.imag):
            number = ~np.isnan(numpys)  # of a complex NaN, which part is none depends on the order of elements
            signs = np.signbit(part(ours)), np.signbit(part(numpys))
            np.testing.assert_array_equal(signs[0] & number, signs[1] & number, "signs differ")
    else:
        _assert_close(ours, numpys, tolerance)


def _assert_close(ours: Array, numpys: Array, tolerance: Tolerance) -> None:
    finite = np.isfinite(numpys)
    np.testing.assert_array_equal(np.where(finite, 0, ours), np.where(finite, 0, numpys))
    with np.errstate(all="ignore"):
        wide = np.complex128 if ours.dtype.kind == "c" else np.float64
        difference = np.abs(ours.astype(wide) - numpys.astype(wide))
    worst = difference - np.broadcast_to(tolerance, difference.shape)
    assert (worst[finite] <= 0).all(), (
        f"{ours} differs from NumPy's {numpys} by up to {np.max(difference[finite])}, more than {tolerance}"
    )
