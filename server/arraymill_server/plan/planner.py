"""Plan a job: from a valid graph to passes over blocks.

Theory of operation, in the order in which it happens:

1. `analyse` lists the roots: what passes must leave behind, and at which level.
2. Roots of one level and one domain that share an array are computed in the same pass, so that the array is read once.
3. Each pass takes its axes in the order in which most of its bytes lie, and is cut into blocks by shape, dtype and
   operation only: neither workers nor memory nor the way of transport change a block, and so no bit of a result.
4. Inputs that are read more than once are held in the workspace when they fit; those that do not fit are asked for
   again. That is the only decision that looks at the size of the arena.
5. `compile` writes the programs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final, cast

import numpy as np

from arraymill_proto.catalogue import Operand as KnownOperand
from arraymill_proto.errors import GraphError
from arraymill_proto.graph import ArrayType, Graph, Input, Operation, Order, Shape
from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.ops.scans import SCANS
from arraymill_server.plan.analyse import Analysis, Root, analyse
from arraymill_server.plan.batches import batch_of
from arraymill_server.plan.blocks import BLOCK_BYTES, Grid
from arraymill_server.plan.compile import PassGraph, compile_stages
from arraymill_server.plan.domain import (
    Domain,
    blocks_per_cell,
    c_order,
    choose_order,
    choose_sequence,
    narrow,
    natural,
    open_cells,
    split_axes,
    spread,
    strides_in,
)
from arraymill_server.plan.grouping import Draft, group_roots
from arraymill_server.plan.model import (
    Fixed,
    JobPlan,
    Kept,
    Operand,
    PassPlan,
    ReducePlan,
    ResidentView,
    ResultSpec,
    ScanPlan,
    Source,
    StorePlan,
    Stream,
)
from arraymill_server.plan.reduce import counts_flat, reduce_spec, reduced_axes, scan_spec

SLOT_BYTES: Final = 16 << 20
"""Bound of all arrays of a block together: four arrays of full blocks; more arrays make smaller blocks."""

WHOLE_RESULT_BYTES: Final = 1 << 20
"""A reduction's result up to here is collected and sent as one: one frame."""


MAX_STEPS: Final = 16_384
"""Most operations in all programs of a job together; compiling one takes some 10 µs of the event loop."""


PART_ITEMSIZE: Final = 32
"""Most bytes of a partial for each element of its block: count, complex mean and M2 of a variance over no axis."""


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What the planner may assume."""

    hold_bytes: int
    """Most bytes of inputs that a job may hold for a second reading."""
    block_bytes: int = BLOCK_BYTES
    block_elements: int | None = None
    """Most elements of a block; for tests of the merge paths."""


def plan_job(
    graph: Graph,
    operands: Sequence[KnownOperand],
    residents: Mapping[int, ResidentView],
    limits: PlanLimits,
    *,
    keep: bool = False,
) -> JobPlan:
    """Plan a job.

    Args:
        graph: The expression.
        operands: What is known of each node, from `infer_graph`: the graph is valid.
        residents: Where the array of each Resident node lies, and of each Input that lies in memory already.
        limits: Bounds.
        keep: True when every output is left in a new resident array of its own.
    """
    return _Planner(analyse(graph, operands), residents, limits, keep=keep).plan(graph)


class _Planner:
    """Holds what the passes planned so far have decided: orders of held inputs and of kept values."""

    def __init__(
        self, analysis: Analysis, residents: Mapping[int, ResidentView], limits: PlanLimits, *, keep: bool
    ) -> None:
        self._analysis = analysis
        self._residents = residents
        self._limits = limits
        self._keep = keep
        self._scans_below = analysis.scans_below()
        self._steps = 0
        self._stored_order: dict[int, Order] = {}
        self._numbers = {
            node: number
            for number, node in enumerate(i for i, node in enumerate(analysis.nodes) if isinstance(node, Input))
        }
        self._held: set[int] = set()

    def plan(self, graph: Graph) -> JobPlan:
        drafts = [draft for group in group_roots(self._analysis) for draft in self._split_by_sequence(group)]
        self._decide_holding(drafts)
        passes = tuple(self._finish(draft) for draft in drafts)
        by_node = {result.node: result for step in passes for result in step.results}
        held = tuple((self._numbers[node], self._analysis.types[node].nbytes) for node in sorted(self._held))
        return JobPlan(passes, tuple(by_node[node] for node in graph.outputs), held, self._keep)

    # ------------------------------------------------------------------ geometry

    def _draft(self, roots: Sequence[Root]) -> Draft:
        graph = PassGraph(self._analysis, roots)
        self._count_steps(len(graph.stage_of))
        shape = roots[0].domain
        if any(root.flat or self._counts_flat(root) for root in roots):
            order = c_order(len(shape))
        else:
            order = choose_order(len(shape), (self._preference(leaf) for leaf in graph.leaves))
        sizes = self._item_sizes(graph, shape)
        target = min(self._limits.block_bytes, SLOT_BYTES * max(sizes) // sum(sizes))
        domain = self._cut(shape, order, max(sizes), target)
        widest = self._widest_part(roots, domain)
        if widest > self._limits.block_bytes:  # int8 whose partials have 8 or 24 bytes an element
            domain = self._cut(shape, order, max(sizes), target * self._limits.block_bytes // widest)
        return Draft(tuple(roots), graph, domain)

    def _widest_part(self, roots: Sequence[Root], domain: Domain) -> int:
        """Most bytes of a partial of a block, or 0 when they are few in any case."""
        if prod(domain.grid.largest()) * PART_ITEMSIZE <= self._limits.block_bytes:
            return 0
        return max((self._reduce_plan(root, domain).part_bytes for root in roots if root.reduces), default=0)

    def _cut(self, shape: Shape, order: Order, itemsize: int, target_bytes: int) -> Domain:
        ordered = tuple(shape[axis] for axis in order)
        grid = Grid.cut(ordered, itemsize, target_bytes, max_elements=self._limits.block_elements)
        return Domain(shape, order, grid, natural(grid))

    def _count_steps(self, steps: int) -> None:
        """Bound what all passes evaluate: a chain of n passes, each over the last, evaluates n² / 2 operations."""
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise GraphError(
                f"the passes of this job evaluate more than {MAX_STEPS:,} operations on every block; "
                "keep intermediate values on the server (put) and go on from their handles",
                limit=MAX_STEPS,
            )

    def _counts_flat(self, root: Root) -> bool:
        """True for argmin and argmax with axis=None: ties must be met in C order."""
        return root.reduces and counts_flat(cast("Operation", self._analysis.nodes[root.node]))

    def _preference(self, leaf: int) -> tuple[Order, int]:
        node, kind = self._analysis.nodes[leaf], self._analysis.types[leaf]
        if isinstance(node, Input) and (node.order is not None or leaf in self._residents):
            order = node.order or c_order(kind.ndim)  # the same on every lane, also where it lies in memory already
        elif leaf in self._residents:
            strides = self._residents[leaf].strides
            order = tuple(sorted(range(kind.ndim), key=lambda axis: (-abs(strides[axis]), axis)))
        else:
            order = self._stored_order.get(leaf, c_order(kind.ndim))
        return order, kind.nbytes

    def _item_sizes(self, graph: PassGraph, shape: Shape) -> list[int]:
        types = self._analysis.types
        whole = [types[leaf].dtype.itemsize for leaf in graph.leaves if types[leaf].size == prod(shape)]
        stored = [types[root.node].dtype.itemsize for root in graph.roots if not root.reduces]
        scanned = [types[scan].dtype.itemsize for scan in graph.scans]
        return whole + stored + scanned or [8]

    def _split_by_sequence(self, roots: Sequence[Root]) -> list[Draft]:
        """Give roots that need blocks in different sequences passes of their own."""
        draft = self._draft(roots)
        if len(draft.domain) <= 1:
            return [draft]
        chained = self._chained(draft)
        demands = [self._demand(root, draft, chained) for root in roots]
        bound = {sequence for sequence in demands if sequence is not None}
        home = bound.pop() if len(bound) == 1 else natural(draft.domain.grid)
        groups: dict[tuple[int, ...], list[Root]] = {}
        for root, sequence in zip(roots, demands, strict=True):
            groups.setdefault(home if sequence is None else sequence, []).append(root)
        if len(groups) == 1:
            return [draft.with_sequence(home)]
        return [part for group in groups.values() for part in self._split_by_sequence(group)]

    def _chained(self, draft: Draft) -> dict[int, tuple[int, ...]]:
        """The scans of a pass whose blocks depend on each other, and the sequence of blocks that each needs."""
        grid = draft.domain.grid
        plans = (self._scan_plan(scan, draft.domain) for scan in draft.graph.scans)
        return {
            plan.node: natural(grid) if plan.spec.flat else choose_sequence(grid, plan.inner, plan.carry_bytes)
            for plan in plans
            if plan.inner
        }

    def _demand(self, root: Root, draft: Draft, chained: Mapping[int, tuple[int, ...]]) -> tuple[int, ...] | None:
        """The sequence of blocks that a root needs; None when any will do. Of several scans the innermost decides."""
        if root.reduces:
            plan = self._reduce_plan(root, draft.domain)
            return choose_sequence(draft.domain.grid, plan.inner, plan.part_bytes) if plan.inner else None
        if root.flat:
            return chained.get(root.node)
        mask = self._scans_below[root.node] | 1 << root.node
        return next((sequence for scan, sequence in chained.items() if mask >> scan & 1), None)

    # ------------------------------------------------------------------ holding

    def _decide_holding(self, drafts: Sequence[Draft]) -> None:
        """Hold what is read more than once, smallest first, as far as the bound allows."""
        readings: dict[int, int] = {}
        for draft in drafts:
            for leaf in draft.graph.leaves:
                if leaf in self._numbers and leaf not in self._residents:
                    repeated = self._is_repeated(leaf, draft.domain)
                    readings[leaf] = readings.get(leaf, 0) + (2 if repeated else 1)
        left = self._limits.hold_bytes
        for leaf in sorted(readings, key=lambda leaf: (self._analysis.types[leaf].nbytes, leaf)):
            nbytes = self._analysis.types[leaf].nbytes
            if readings[leaf] > 1 and nbytes <= left:
                left -= nbytes
                self._held.add(leaf)

    def _is_repeated(self, leaf: int, domain: Domain) -> bool:
        """True when several blocks read the same part of an input."""
        shape = spread(self._analysis.types[leaf].shape, domain.order, 1)
        return any(count > 1 and shape[axis] == 1 for axis, count in enumerate(domain.grid.counts))

    # ------------------------------------------------------------------ passes

    def _finish(self, draft: Draft) -> PassPlan:
        domain, graph = draft.domain, draft.graph
        operands = tuple(self._operand(leaf, domain) for leaf in graph.leaves)
        stores: dict[int, StorePlan] = {}
        reductions: dict[int, ReducePlan] = {}
        for number, root in enumerate(draft.roots):
            if root.reduces:
                reductions[number] = self._reduce_plan(root, domain)
                self._stored_order[root.node] = reductions[number].result.order
            else:
                stores[number] = StorePlan(self._result(root, domain, ()))
                self._stored_order[root.node] = stores[number].result.order
        stages = compile_stages(graph, domain.order)
        scans = tuple(self._scan_plan(scan, domain) for scan in graph.scans)
        places = {number: place for group in (stores, reductions) for place, number in enumerate(group)}
        numbered = tuple(stage.renumbered(places) for stage in stages)
        plan = PassPlan(domain, operands, numbered, tuple(stores.values()), tuple(reductions.values()), scans)
        return replace(plan, batch=batch_of(plan))

    def _operand(self, leaf: int, domain: Domain) -> Operand:
        kind, node = self._analysis.types[leaf], self._analysis.nodes[leaf]
        dtype = node.dtype if isinstance(node, Input) else kind.dtype
        source: Source
        if leaf in self._residents:
            view = self._residents[leaf]
            source, strides = Fixed(view.offset), view.strides
        elif leaf in self._numbers:
            order = self._input_order(leaf, domain)
            source = Stream(self._numbers[leaf], order, kind.nbytes, leaf in self._held)
            strides = strides_in(kind.shape, order, dtype.itemsize)
        else:
            source = Kept(leaf)
            strides = strides_in(kind.shape, self._stored_order[leaf], dtype.itemsize)
        shape = spread(kind.shape, domain.order, 1)
        wide = spread(strides, domain.order, 0)
        strides = tuple(0 if length == 1 else stride for length, stride in zip(shape, wide, strict=True))
        return Operand(leaf, dtype, source, shape, strides)

    def _input_order(self, leaf: int, domain: Domain) -> Order:
        """A held input keeps the order of the pass that read it first; else each pass asks for its own."""
        order = narrow(domain.order, self._analysis.types[leaf].ndim)
        return self._stored_order.setdefault(leaf, order) if leaf in self._held else order

    def _result(self, root: Root, domain: Domain, reduced: Sequence[int]) -> ResultSpec:
        """Describe a root's value; `reduced` are axes as the user sees them."""
        kind = self._analysis.types[root.node]
        strides: list[int] = [0] * len(domain.order)
        step = kind.dtype.itemsize
        for position in reversed(range(len(domain.order))):
            if domain.order[position] not in reduced:
                strides[position] = step
                step *= domain.shape[domain.order[position]]
        if root.flat:
            order: Order = (0,)
        elif kind.ndim == len(domain.shape):
            order = domain.order
        else:
            left = [axis for axis in range(len(domain.shape)) if axis not in reduced]
            order = tuple(left.index(axis) for axis in domain.order if axis not in reduced)
        return ResultSpec(root.node, kind, order, root.outputs, self._is_whole(root, kind), tuple(strides))

    def _is_whole(self, root: Root, kind: ArrayType) -> bool:
        return root.kept or self._keep or (root.reduces and kind.nbytes <= WHOLE_RESULT_BYTES)

    def _reduce_plan(self, root: Root, domain: Domain) -> ReducePlan:
        analysis = self._analysis
        spec = reduce_spec(analysis.nodes, analysis.types, root.node, domain.order)
        axes = reduced_axes(analysis.nodes[root.node], len(domain.shape))  # type: ignore[arg-type]
        inner = split_axes(domain.grid, spec.axes)
        largest = domain.grid.largest()
        return ReducePlan(
            result=self._result(root, domain, axes),
            spec=spec,
            components=tuple(np.dtype(dtype) for dtype in REDUCTIONS[spec.op].components(spec)),
            inner=inner,
            blocks_per_cell=blocks_per_cell(domain.grid, inner),
            open_cells=open_cells(domain.grid, domain.sequence, inner),
            count=prod(domain.shape[axis] for axis in axes),
            cell_elements=prod(length for axis, length in enumerate(largest) if axis not in spec.axes),
        )

    def _scan_plan(self, scan: int, domain: Domain) -> ScanPlan:
        spec = scan_spec(self._analysis.nodes, self._analysis.types, scan, domain.order)
        everything = range(len(domain.order))
        inner = split_axes(domain.grid, everything if spec.flat else (spec.axis,))
        largest = domain.grid.largest()
        return ScanPlan(
            node=scan,
            spec=spec,
            dtype=self._analysis.types[scan].dtype,
            components=tuple(np.dtype(dtype) for dtype in SCANS[spec.op].components(spec)),
            inner=inner,
            open_chains=open_cells(domain.grid, domain.sequence, inner),
            carry_elements=1 if spec.flat else prod(n for axis, n in enumerate(largest) if axis != spec.axis),
        )
