"""Run a plan without a server: its machine, the interpreter, and a shell that ends instructions in any order."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.lib.array_utils import byte_bounds

from arraymill_proto.graph import ArrayType, Graph, Resident
from arraymill_proto.validate import infer_graph
from arraymill_server.arena.memory import Memory
from arraymill_server.plan.blocks import PIECE_BYTES
from arraymill_server.plan.host import Host
from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Instruction, Send, Write
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import JobPlan, PassPlan, ResidentView, align
from arraymill_server.plan.pass_machine import BlockState, PassMachine
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.workspace import JobLayout, PassLayout
from arraymill_server.testing.arrays import Array, Bytes, as_seen, empty_result, put, wire_bytes
from arraymill_server.testing.watch import Watch

_ORIGIN: Final = 64
"""Where the first resident array lies: no address is 0, so an offset that is taken for an address shows."""

_NOTHING: Final[Mapping[int, Array]] = MappingProxyType({})


class Simulation:
    """One run of a plan in private memory.

    Args:
        plan: The plan.
        arrays: The inputs, by number.
        shelf: The bytes of resident arrays, from `lay_out`.
        depth: Blocks in flight.
        random: Chooses which instruction ends next; None: the oldest.
        piece_bytes: Size of the interpreter's pieces.
        is_watched: True: every access to the memory is checked.
    """

    def __init__(
        self,
        plan: JobPlan,
        arrays: Sequence[Array],
        *,
        shelf: bytes = b"",
        depth: int = 3,
        random: Random | None = None,
        piece_bytes: int = PIECE_BYTES,
        is_watched: bool = True,
    ) -> None:
        layout = JobLayout(plan, depth)
        base = _ORIGIN + align(len(shelf))
        self.memory: Bytes = np.empty(base + layout.nbytes, np.uint8)
        self.memory[_ORIGIN : _ORIGIN + len(shelf)] = np.frombuffer(shelf, np.uint8)
        self.results = [empty_result(result) for result in plan.outputs]
        self.fetched = [0] * len(arrays)
        """Bytes of each input that were asked for."""
        self._plan = plan
        self._arrays = arrays
        self._random = random
        self._interpreter = Interpreter(Memory(self.memory), piece_bytes=piece_bytes)
        self._watch = Watch(self.memory, plan) if is_watched else None
        if self._watch:
            self._watch.know(_ORIGIN, np.frombuffer(shelf, np.uint8))
        self._machine = _WatchedJob(plan, layout, base, self._watch)

    def run(self) -> list[Array]:
        """Run to the end; return the results as the user sees them."""
        pending: list[Dispatch | Fetch | Send] = []
        self._carry_out(self._machine.start(), pending)
        while pending:
            instruction = pending.pop(self._random.randrange(len(pending)) if self._random else 0)
            self._act(instruction)
            self._carry_out(self._machine.done(instruction.token), pending)
        assert self._machine.is_finished, f"{self._machine} waits for nothing"
        return [as_seen(array, result) for array, result in zip(self.results, self._plan.outputs, strict=True)]

    def _carry_out(self, instructions: list[Instruction], pending: list[Dispatch | Fetch | Send]) -> None:
        for instruction in instructions:
            if self._watch:
                self._watch.begin(instruction)
            if isinstance(instruction, Write | Compute):
                self._act(instruction)
            else:
                pending.append(instruction)

    def _act(self, instruction: Instruction) -> None:
        match instruction:
            case Write():
                data = np.frombuffer(instruction.data, np.uint8)
                self.memory[instruction.address : instruction.address + len(data)] = data
            case Compute() | Dispatch():
                self._interpreter.run(instruction.task)
            case Fetch():
                self._fetch(instruction)
            case Send():
                self._send(instruction)
        if self._watch:
            self._watch.end(instruction)

    def _fetch(self, fetch: Fetch) -> None:
        wanted = fetch.wanted
        data = wire_bytes(self._arrays[wanted.number], wanted.order)[wanted.offset :][: wanted.nbytes]
        assert len(data) == wanted.nbytes > 0, f"{wanted} is beyond the end of the input, or nothing"
        self.memory[fetch.address : fetch.address + wanted.nbytes] = data
        self.fetched[wanted.number] += wanted.nbytes

    def _send(self, send: Send) -> None:
        part = send.part
        data = self.memory[part.address : part.address + part.nbytes]
        for output in send.outputs:
            put(self.results[output], part.offset, data)


class _WatchedJob(JobMachine):
    """A job whose slots are watched."""

    def __init__(self, plan: JobPlan, layout: JobLayout, base: int, watch: Watch | None) -> None:
        super().__init__(plan, layout, base=base)
        self._watch = watch

    def _make_pass(self, plan: PassPlan, layout: PassLayout) -> PassMachine:
        if self._watch is None:
            return super()._make_pass(plan, layout)
        return _WatchedPass(plan, layout, self._base, self, self._watch)


class _WatchedPass(PassMachine):
    """A pass that gives up its slots before the eyes of a watch."""

    def __init__(self, plan: PassPlan, layout: PassLayout, base: int, host: Host, watch: Watch) -> None:
        super().__init__(plan, layout, base, host)
        self._watch = watch

    def _release(self, state: BlockState) -> None:
        before = self.blocks_done
        super()._release(state)
        if self.blocks_done > before:
            self._watch.free(self._slot_address(state), self._layout.slot.nbytes)


def simulate(
    graph: Graph,
    arrays: Sequence[Array],
    *,
    limits: PlanLimits,
    residents: Mapping[int, Array] = _NOTHING,
    depth: int = 3,
    random: Random | None = None,
    piece_bytes: int = PIECE_BYTES,
    is_watched: bool = True,
) -> list[Array]:
    """Plan a graph and run it in private memory.

    Args:
        graph: The graph. Its Resident nodes have no slices.
        arrays: The inputs, by number.
        limits: Bounds of the plan.
        residents: The array of each Resident node, by the number of the node; of any strides.
        depth: See `Simulation`, as for the others.
    """
    shelf, views = lay_out(residents)

    def type_of(node: Resident) -> ArrayType:
        array = residents[graph.nodes.index(node)]
        return ArrayType(array.shape, array.dtype)

    plan = plan_job(graph, infer_graph(graph, type_of), views, limits)
    simulation = Simulation(
        plan, arrays, shelf=shelf, depth=depth, random=random, piece_bytes=piece_bytes, is_watched=is_watched
    )
    return simulation.run()


def lay_out(residents: Mapping[int, Array]) -> tuple[bytes, dict[int, ResidentView]]:
    """Copy resident arrays, strides and all, to where `Simulation` expects them."""
    shelf = bytearray()
    views: dict[int, ResidentView] = {}
    for node, array in residents.items():
        low, high = byte_bounds(array)
        offset = _ORIGIN + len(shelf) + array.ctypes.data - low
        views[node] = ResidentView(offset, array.shape, array.strides, array.dtype)
        shelf += ctypes.string_at(low, high - low)
        shelf += bytes(-len(shelf) % 16)
    return bytes(shelf), views
