"""From an expression graph to the roots of its passes: what must be computed when.

Theory of operation. A *pass* walks the blocks of one domain. Inside a block everything elementwise is evaluated from
the leaves, so no elementwise value ever exists whole. What a pass produces are *roots*:

- a reduction: its result exists when the pass has ended, so whoever reads it belongs to a later pass;
- a stored value: an output of the job that is not a reduction.

The *level* of a node is the number of passes that must have ended before it can be evaluated inside a block. A
reduction adds one to the level of its argument, an elementwise operation takes the highest level of its operands.

A scan (cumsum, cumprod) is evaluated inside the blocks of a pass as well, with a carry from block to block, but only
where its shape is the pass's domain. Where a consumer broadcasts it to a larger domain, or reads it raveled, the scan
is *materialised*: it becomes a root whose value is kept whole, like the result of a reduction.

Rejected: keeping elementwise values whole between passes. Evaluating them again costs less than writing and reading
them, and it would put a ceiling on the size of every expression of two passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from arraymill_proto.catalogue import OPERATIONS, Kind, Operand
from arraymill_proto.errors import GraphError
from arraymill_proto.graph import ArrayType, Constant, Graph, Input, Node, Operation, Resident, Shape
from arraymill_server.plan.reduce import empty_result, ravels

MAX_ROOTS: Final = 1024
"""Most reductions and outputs of a job. Planning compares them in pairs: this many take 0.1 s of the event loop."""

MAX_SCANS: Final = 256
"""Most scans of a job: each is a stage of every block, and what follows looks at all scans before it."""


@dataclass(frozen=True, slots=True)
class Root:
    """Something that a pass leaves behind."""

    node: int
    reduces: bool
    """True: the node is a reduction; its argument is evaluated in the pass. False: the node itself is stored."""
    level: int
    domain: Shape
    """The shape whose blocks are walked, axes as the user sees them."""
    outputs: tuple[int, ...]
    """The job's outputs that are this value."""
    kept: bool
    """True when later passes read the value."""
    flat: bool = False
    """True for a scan with axis=None of an array of other than one dimension: stored raveled."""


@dataclass(slots=True)
class Analysis:
    """What the planner knows of a graph."""

    nodes: tuple[Node, ...]
    types: tuple[ArrayType, ...]
    """Type of each node; constants have shape ()."""
    folded: dict[int, np.generic] = field(default_factory=dict[int, np.generic])
    """Reductions of nothing, whose every element is this scalar."""
    boundaries: set[int] = field(default_factory=set[int])
    """Nodes whose value exists whole between passes."""
    levels: list[int] = field(default_factory=list[int])
    roots: list[Root] = field(default_factory=list[Root])

    def kind(self, index: int) -> Kind | None:
        """The kind of the operation at a node; None for leaves, constants and folded reductions."""
        node = self.nodes[index]
        if not isinstance(node, Operation) or index in self.folded:
            return None
        return OPERATIONS[node.name].kind

    def operands(self, index: int) -> tuple[int, ...]:
        """The nodes that are evaluated to evaluate this one inside a block."""
        node = self.nodes[index]
        if not isinstance(node, Operation) or index in self.folded:
            return ()
        if self.kind(index) is Kind.REDUCTION:
            return reduction_operands(node)
        return node.operands()

    def scans_below(self) -> list[int]:
        """For each node, the scans that are evaluated inside a block to evaluate it, as bits; not the node itself."""
        below: list[int] = []
        for index in range(len(self.nodes)):
            mask = 0
            for operand in self.operands(index):
                if not self.is_array_leaf(operand):
                    mask |= below[operand] | (1 << operand if self.kind(operand) is Kind.SCAN else 0)
            below.append(mask)
        return below

    def is_array_leaf(self, index: int) -> bool:
        """True for inputs, resident arrays and values kept by an earlier pass."""
        return index in self.boundaries or isinstance(self.nodes[index], Input | Resident)


def analyse(graph: Graph, operands: Sequence[Operand]) -> Analysis:
    """Find boundaries, levels and roots of a valid graph.

    Args:
        graph: The expression.
        operands: What is known of each node, from `arraymill_proto.validate.infer_graph`.
    """
    analysis = Analysis(graph.nodes, tuple(_type_of(operand) for operand in operands))
    needed = _needed(graph)
    _check_bound("scans", sum(analysis.kind(index) is Kind.SCAN for index in needed), MAX_SCANS)
    _fold(analysis, needed)
    domains = _domains(graph, analysis, needed)
    _mark_boundaries(analysis, needed, domains)
    _set_levels(analysis)
    _list_roots(graph, analysis, needed)
    return analysis


def reduction_operands(node: Operation) -> tuple[int, ...]:
    """The argument of a reduction and its mask: what is evaluated in every block (`initial` is not)."""
    where = node.params.get("where")
    return node.args if where is None else (*node.args, where.node)  # type: ignore[union-attr]


def is_flat(analysis: Analysis, index: int) -> bool:
    """True for a scan that ravels an array of other than one dimension."""
    node = analysis.nodes[index]
    assert isinstance(node, Operation)
    return ravels(node, analysis.types[node.args[0]].ndim)


def _type_of(operand: Operand) -> ArrayType:
    return operand if isinstance(operand, ArrayType) else ArrayType((), np.asarray(operand).dtype)


def _needed(graph: Graph) -> list[int]:
    """Nodes that the outputs depend on, ascending."""
    seen: set[int] = set()
    stack = list(graph.outputs)
    while stack:
        index = stack.pop()
        if index in seen:
            continue
        seen.add(index)
        node = graph.nodes[index]
        if isinstance(node, Operation):
            stack.extend(node.operands())
    return sorted(seen)


def _fold(analysis: Analysis, needed: list[int]) -> None:
    for index in needed:
        node = analysis.nodes[index]
        if not isinstance(node, Operation) or analysis.kind(index) is not Kind.REDUCTION:
            continue
        if analysis.types[node.args[0]].size == 0:
            analysis.folded[index] = empty_result(analysis.nodes, analysis.types, index)


class _Many:
    """More than one domain."""


_MANY: Final = _Many()

_Reach: TypeAlias = "Shape | _Many | None"
"""The domain in whose blocks a node is evaluated; None when nobody does. One is all that a scan needs to know."""


def _domains(graph: Graph, analysis: Analysis, needed: list[int]) -> dict[int, _Reach]:
    """For each node, the domain in whose blocks its consumers evaluate it."""
    outputs = set(graph.outputs)
    domains: dict[int, _Reach] = dict.fromkeys(needed)
    for index in reversed(needed):
        kind, shape = analysis.kind(index), analysis.types[index].shape
        if kind is None:
            continue
        if kind is Kind.ELEMENTWISE:
            reached = _joined(domains[index], shape if index in outputs else None)
        else:
            reached = analysis.types[analysis.operands(index)[0]].shape
        for operand in analysis.operands(index):
            domains[operand] = _joined(domains[operand], reached)
    return domains


def _joined(one: _Reach, other: _Reach) -> _Reach:
    if one is None or other is None:
        return one if other is None else other
    return one if one == other else _MANY


def _mark_boundaries(analysis: Analysis, needed: list[int], domains: dict[int, _Reach]) -> None:
    for index in needed:
        kind = analysis.kind(index)
        consumed = domains[index] is not None
        if kind is Kind.REDUCTION and consumed:
            analysis.boundaries.add(index)
        if kind is Kind.SCAN and consumed:
            fits = domains[index] == analysis.types[index].shape
            if not fits or is_flat(analysis, index):
                analysis.boundaries.add(index)


def _set_levels(analysis: Analysis) -> None:
    for index in range(len(analysis.nodes)):
        below = max((analysis.levels[operand] for operand in analysis.operands(index)), default=0)
        is_value = analysis.kind(index) is Kind.REDUCTION or index in analysis.boundaries
        analysis.levels.append(below + 1 if is_value else below)


def _list_roots(graph: Graph, analysis: Analysis, needed: list[int]) -> None:
    outputs: dict[int, list[int]] = {}
    for number, node in enumerate(graph.outputs):
        outputs.setdefault(node, []).append(number)
    for index in needed:
        reduces = analysis.kind(index) is Kind.REDUCTION
        kept = index in analysis.boundaries
        if index not in outputs and not kept:
            continue
        scan = analysis.kind(index) is Kind.SCAN
        flat = scan and is_flat(analysis, index)
        level = analysis.levels[index] - 1 if reduces or kept else analysis.levels[index]
        inner = analysis.operands(index)[0] if reduces or scan else index
        shape = analysis.types[inner].shape
        analysis.roots.append(Root(index, reduces, level, shape, tuple(outputs.get(index, ())), kept, flat))
    _check_bound("reductions and outputs", len(analysis.roots), MAX_ROOTS)


def _check_bound(what: str, count: int, limit: int) -> None:
    if count > limit:
        message = f"the job has {count:,} {what}, at most {limit:,} are allowed; split it into several jobs"
        raise GraphError(message, count=count, limit=limit)


def is_constant(analysis: Analysis, index: int) -> bool:
    """True for constants and for reductions of nothing."""
    return index in analysis.folded or isinstance(analysis.nodes[index], Constant)
