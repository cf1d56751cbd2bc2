"""From the roots of a pass to the programs of its stages.

A scan ends a stage: the stages behind it need the scan's carry, which is known only when the block before is done. Each
stage evaluates what its sinks need from the operands again, down to leaves and to scanned blocks of earlier stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec
import numpy as np

from arraymill_proto.catalogue import Kind
from arraymill_proto.graph import Constant, Input, NodeRef, Operation, Order
from arraymill_server.ops.scans import SCANS
from arraymill_server.ops.spec import Scalar
from arraymill_server.plan.analyse import Analysis, Root, is_constant
from arraymill_server.plan.model import CarryRef, OperandRef, Ref, ScannedRef, Stage
from arraymill_server.plan.program import Program, Reduce, Scan, Sink, Step, Store
from arraymill_server.plan.reduce import reduce_spec, scan_spec


class PassGraph:
    """The part of the graph that one pass evaluates: its stages, scans and leaves."""

    def __init__(self, analysis: Analysis, roots: Sequence[Root]) -> None:
        self.analysis = analysis
        self.roots = roots
        self.stage_of: dict[int, int] = {}
        self.leaves: dict[int, int] = {}
        """Arrays that the pass reads, and their numbers among its operands."""
        self.scans: dict[int, int] = {}
        """Scans that run through the pass, and their numbers."""
        self._made = {root.node for root in roots}
        for root in roots:
            for index in self.arguments(root):
                self._visit(index)
            if self._is_scan(root.node):
                self._enter(root.node)

    def arguments(self, root: Root) -> tuple[int, ...]:
        """The nodes whose registers a root's sink takes, or that its scan reads."""
        if root.reduces or self._is_scan(root.node):
            return self.analysis.operands(root.node)
        return (root.node,)

    def stage(self, root: Root) -> int:
        """The stage in which a root's sink stands."""
        if root.reduces:
            return max(self.stage_of[index] for index in self.arguments(root))
        return self.stage_of[root.node]

    @property
    def stages(self) -> int:
        return 1 + max(self.stage(root) for root in self.roots)

    def _is_scan(self, index: int) -> bool:
        return self.analysis.kind(index) is Kind.SCAN

    def is_source(self, index: int) -> bool:
        """True for arrays that the pass reads from memory."""
        made_here = index in self._made and self._is_scan(index)
        return self.analysis.is_array_leaf(index) and not made_here

    def dtype_of(self, index: int) -> str:
        """dtype string of a source, in its byte order."""
        node = self.analysis.nodes[index]
        return node.dtype.str if isinstance(node, Input) else self.analysis.types[index].dtype.str

    def _visit(self, index: int) -> None:
        """Enter a node after its operands, without recursion: expressions may be thousands of nodes deep."""
        stack = [index]
        while stack:
            top = stack[-1]
            pending = [] if self.is_source(top) else [o for o in self.analysis.operands(top) if o not in self.stage_of]
            if top in self.stage_of or not pending:
                stack.pop()
                if top not in self.stage_of:
                    self._enter(top)
            else:
                stack.extend(pending)

    def _enter(self, index: int) -> None:
        if self.is_source(index):
            self.leaves[index] = len(self.leaves)
            self.stage_of[index] = 0
            return
        below = max((self.stage_of[operand] for operand in self.analysis.operands(index)), default=0)
        if self._is_scan(index):
            self.scans.setdefault(index, len(self.scans))
            below += 1
        self.stage_of[index] = below


def compile_stages(graph: PassGraph, order: Order) -> tuple[Stage, ...]:
    """Write the program of each stage of a pass.

    Args:
        graph: What the pass evaluates.
        order: The order of the domain's axes.
    """
    return tuple(_StageCompiler(graph, order, number).compile() for number in range(graph.stages))


_STEP = 1 << 30
"""Steps are numbered from here until the number of operands, which come first, is known."""


class _StageCompiler:
    """Writes one program: allocates operands, constants and steps as sinks ask for registers."""

    def __init__(self, graph: PassGraph, order: Order, number: int) -> None:
        self._graph = graph
        self._analysis = graph.analysis
        self._order = order
        self._number = number
        self._operands: list[Ref] = []
        self._dtypes: list[str] = []
        self._constants: list[Scalar] = []
        self._steps: list[Step] = []
        self._registers: dict[int, int] = {}

    def compile(self) -> Stage:
        roots = self._graph.roots
        here = [number for number, root in enumerate(roots) if self._graph.stage(root) == self._number]
        stores = tuple(number for number in here if not roots[number].reduces)
        reductions = tuple(number for number in here if roots[number].reduces)
        scans = [scan for scan in self._graph.scans if self._graph.stage_of[scan] == self._number + 1]
        sinks: list[Sink] = [self._store(roots[number]) for number in stores]
        sinks += [self._reduce(roots[number]) for number in reductions]
        sinks += [self._scan(scan) for scan in scans]
        program = self._assemble(sinks)
        encoded = msgspec.msgpack.encode(program)
        return Stage(
            program=program,
            encoded=encoded,
            digest=blake2b(encoded, digest_size=16).digest(),
            operands=tuple(self._operands),
            stores=stores,
            reductions=reductions,
            scans=tuple(self._graph.scans[scan] for scan in scans),
        )

    # ------------------------------------------------------------------ sinks

    def _store(self, root: Root) -> Store:
        return Store(self._register(root.node), self._analysis.types[root.node].dtype.str)

    def _reduce(self, root: Root) -> Reduce:
        registers = [self._register(index) for index in self._graph.arguments(root)]
        spec = reduce_spec(self._analysis.nodes, self._analysis.types, root.node, self._order)
        return Reduce(registers[0], spec, registers[1] if len(registers) > 1 else None)

    def _scan(self, index: int) -> Scan:
        register = self._register(self._analysis.operands(index)[0])
        return Scan(register, scan_spec(self._analysis.nodes, self._analysis.types, index, self._order))

    # ------------------------------------------------------------------ registers

    def _register(self, index: int) -> int:
        """Make a node available; operands before their users, as node numbers already stand."""
        for needed in sorted(self._closure(index)):
            self._registers[needed] = self._make(needed)
        return self._registers[index]

    def _closure(self, index: int) -> set[int]:
        found: set[int] = set()
        stack = [index]
        while stack:
            top = stack.pop()
            if top in found or top in self._registers:
                continue
            found.add(top)
            if not self._stops(top):
                stack.extend(self._analysis.operands(top))
        return found

    def _stops(self, index: int) -> bool:
        return self._graph.is_source(index) or index in self._graph.scans

    def _make(self, index: int) -> int:
        if is_constant(self._analysis, index):
            return self._constant(index)
        if index in self._graph.scans:
            return self._carried(index)
        if self._graph.is_source(index):
            return self._operand(OperandRef(self._graph.leaves[index]), self._graph.dtype_of(index))
        return self._step(index)

    def _constant(self, index: int) -> int:
        node = self._analysis.nodes[index]
        value = node.value if isinstance(node, Constant) else self._analysis.folded[index]
        self._constants.append(Scalar.of(value))
        return -len(self._constants)

    def _operand(self, ref: Ref, dtype: str) -> int:
        self._operands.append(ref)
        self._dtypes.append(dtype)
        return len(self._operands) - 1

    def _carried(self, index: int) -> int:
        """A scanned block of an earlier stage, with its carry applied."""
        scan = self._graph.scans[index]
        dtype = self._analysis.types[index].dtype.str
        node = self._analysis.nodes[index]
        assert isinstance(node, Operation)
        scanned = self._operand(ScannedRef(scan), dtype)
        carry = self._operand(CarryRef(scan), dtype)
        return self._append(Step(SCANS[node.name].kernel, (scanned, carry), dtype))

    def _step(self, index: int) -> int:
        node = self._analysis.nodes[index]
        assert isinstance(node, Operation)
        name, args = _kernel_call(node)
        params: dict[str, str | int | float | bool] = {}
        for key, value in node.params.items():
            if isinstance(value, np.dtype):
                params[key] = value.str
            elif isinstance(value, str | int | float | bool):
                params[key] = value
        registers = tuple(self._registers[arg] for arg in args)
        return self._append(Step(name, registers, self._analysis.types[index].dtype.str, params))

    def _append(self, step: Step) -> int:
        self._steps.append(step)
        return _STEP + len(self._steps) - 1

    # ------------------------------------------------------------------ the whole

    def _assemble(self, sinks: Sequence[Sink]) -> Program:
        first = len(self._operands)

        def place(register: int) -> int:
            return register - _STEP + first if register >= _STEP else register

        steps = tuple(Step(s.op, tuple(map(place, s.args)), s.dtype, s.params) for s in self._steps)
        return Program(tuple(self._dtypes), tuple(self._constants), steps, tuple(_placed(s, place) for s in sinks))


def _placed(sink: Sink, place: Callable[[int], int]) -> Sink:
    if isinstance(sink, Reduce):
        return Reduce(place(sink.arg), sink.spec, None if sink.where is None else place(sink.where))
    return msgspec.structs.replace(sink, arg=place(sink.arg))


def _kernel_call(node: Operation) -> tuple[str, tuple[int, ...]]:
    """The kernel of an elementwise operation and the nodes it takes, array-valued parameters included."""
    if node.name != "clip":
        return node.name, node.args
    bounds = {key: value.node for key, value in node.params.items() if isinstance(value, NodeRef)}
    names: dict[tuple[str, ...], str] = {
        ("max", "min"): "clip",
        ("min",): "clip.min",
        ("max",): "clip.max",
        (): "positive",
    }
    kernel = names[tuple(sorted(bounds))]
    return kernel, (*node.args, *(bounds[key] for key in ("min", "max") if key in bounds))
