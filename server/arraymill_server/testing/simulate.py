"""Run a plan without a server: its machine, the interpreter, and a shell that ends instructions in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from arraymill_proto.graph import ArrayType, Graph, Order, Resident
from arraymill_proto.validate import infer_graph
from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Instruction, Send, Write
from arraymill_server.plan.blocks import PIECE_BYTES
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import JobPlan, ResultSpec
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.workspace import JobLayout

POISON = 0xA5
"""Fills the memory before the run: a byte that is read before it is written shows."""


class Simulation:
    """One run of a plan in private memory.

    Args:
        plan: The plan.
        arrays: The inputs, by number.
        depth: Blocks in flight.
        random: Chooses which instruction ends next; None: the oldest.
        piece_bytes: Size of the interpreter's pieces.
    """

    def __init__(
        self,
        plan: JobPlan,
        arrays: Sequence[NDArray[np.generic]],
        *,
        depth: int = 3,
        random: Random | None = None,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        layout = JobLayout(plan, depth)
        self.memory = np.full(layout.nbytes + 64, POISON, np.uint8)
        self.results = [_allocate(result) for result in plan.outputs]
        self.fetched = [0] * len(arrays)
        self._plan = plan
        self._arrays = arrays
        self._random = random
        self._interpreter = Interpreter(self.memory, piece_bytes=piece_bytes)
        self._machine = JobMachine(plan, layout, base=64)

    def run(self) -> list[NDArray[np.generic]]:
        """Run to the end; return the results as the user sees them."""
        pending: list[tuple[int, Callable[[], None]]] = []
        self._carry_out(self._machine.start(), pending)
        while pending:
            place = self._random.randrange(len(pending)) if self._random else 0
            token, act = pending.pop(place)
            act()
            self._carry_out(self._machine.done(token), pending)
        assert self._machine.is_finished, self._machine
        return [_as_seen(array, result) for array, result in zip(self.results, self._plan.outputs, strict=True)]

    def _carry_out(self, instructions: list[Instruction], pending: list[tuple[int, Callable[[], None]]]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Write):
                data = np.frombuffer(instruction.data, np.uint8)
                self.memory[instruction.address : instruction.address + len(data)] = data
            elif isinstance(instruction, Compute):
                self._interpreter.run(instruction.task)
            else:
                pending.append((instruction.token, self._later(instruction)))

    def _later(self, instruction: Fetch | Dispatch | Send) -> Callable[[], None]:
        if isinstance(instruction, Dispatch):
            return lambda: self._interpreter.run(instruction.task)
        if isinstance(instruction, Fetch):
            return lambda: self._fetch(instruction)
        return lambda: self._send(instruction)

    def _fetch(self, fetch: Fetch) -> None:
        wanted = fetch.wanted
        data = _bytes(self._arrays[wanted.number].transpose(wanted.order))[wanted.offset :][: wanted.nbytes]
        assert len(data) == wanted.nbytes, "beyond the end of the input"
        self.memory[fetch.address : fetch.address + wanted.nbytes] = data
        self.fetched[wanted.number] += wanted.nbytes

    def _send(self, send: Send) -> None:
        part = send.part
        data = self.memory[part.address : part.address + part.nbytes]
        for output in send.outputs:
            flat = self.results[output].reshape(-1).view(np.uint8)
            flat[part.offset : part.offset + part.nbytes] = data


def simulate(
    graph: Graph,
    arrays: Sequence[NDArray[np.generic]],
    *,
    limits: PlanLimits,
    depth: int = 3,
    random: Random | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> list[NDArray[np.generic]]:
    """Plan a graph without resident arrays and run it in private memory."""
    plan = plan_job(graph, infer_graph(graph, _no_residents), {}, limits)
    return Simulation(plan, arrays, depth=depth, random=random, piece_bytes=piece_bytes).run()


def _no_residents(node: Resident) -> ArrayType:
    raise AssertionError(f"{node} in a simulation")


def _bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.frombuffer(array.tobytes(), np.uint8)


def _allocate(result: ResultSpec) -> NDArray[np.generic]:
    shape = tuple(result.type.shape[axis] for axis in result.order)
    return np.full(shape, np.frombuffer(bytes([POISON] * 16), result.type.dtype)[0])


def _as_seen(array: NDArray[np.generic], result: ResultSpec) -> NDArray[np.generic]:
    inverse: Order = tuple(int(axis) for axis in np.argsort(result.order))
    return array.transpose(inverse)
