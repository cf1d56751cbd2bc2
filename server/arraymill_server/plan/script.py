"""Small jobs as scripts: what a job's machine would ask for, written down once, and played again and again.

Theory of operation. A machine knows nothing of values: for one plan it asks for the same things every time. So its
instructions, carried out one after the other in a workspace that always lies at the same place, are a list. With views
and programs bound (`Interpreter.bind`), a job that comes again is the calls of its kernels and a few copies: some 20 µs
where planning, layout, machine and dispatch take a millisecond. The tasks are those of the long way, in an order that
it may take as well; so the bits are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import thread_time
from typing import Final, TypeAlias

import numpy as np

from arraymill_proto.graph import Graph, Input
from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Instruction, Send, Write
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import JobPlan
from arraymill_server.plan.workspace import JobLayout

MAX_STEPS: Final = 64
"""Instructions of a script: a job of more takes longer than a dispatch."""

Data: TypeAlias = "Sequence[bytes | memoryview]"
Results: TypeAlias = list[bytearray]
Step: TypeAlias = Callable[[Data, Results], None]


class Script:
    """A job that can be played.

    Args:
        plan: Its plan.
        steps: What to do with inputs and results, in order.
        lengths: Bytes of each input.
    """

    def __init__(self, plan: JobPlan, steps: Sequence[Step], lengths: Sequence[int]) -> None:
        self.plan = plan
        self._steps = tuple(steps)
        self._lengths = tuple(lengths)
        self._sizes = tuple(output.nbytes for output in plan.outputs)
        self.received_bytes: Final = sum(self._lengths)
        self.sent_bytes: Final = sum(self._sizes)

    def __repr__(self) -> str:
        return f"<Script of {len(self._steps)} steps>"

    def fits(self, data: Data) -> bool:
        """Tell whether inputs have as many bytes as their types need."""
        return tuple(map(len, data)) == self._lengths

    def play(self, data: Data) -> tuple[Results, float]:
        """Run the job; return the bytes of its outputs, and the seconds of processor time that it took.

        Args:
            data: The bytes of each input, which fit.

        Raises:
            Exception: Whatever a kernel raises.
        """
        begin = thread_time()
        results = [bytearray(size) for size in self._sizes]
        with np.errstate(all="ignore"):
            for step in self._steps:
                step(data, results)
        return results, thread_time() - begin


def script_of(graph: Graph, plan: JobPlan, interpreter: Interpreter, memory: memoryview) -> Script | None:
    """Write down a job; None when it is none for a script.

    Args:
        graph: The job's: its inputs come in the orders that it declares, with every playing.
        plan: The job's plan.
        interpreter: Runs tasks in the memory.
        memory: Where scripts have their workspaces, all of them the same. Nothing of one playing is used by another.
    """
    layout = JobLayout(plan, 1)
    if layout.nbytes > len(memory) or sum(output.nbytes for output in plan.outputs) > len(memory):
        return None
    inputs = [node for node in graph.nodes if isinstance(node, Input)]
    told = _instructions(JobMachine(plan, layout, base=0))
    if len(told) > MAX_STEPS or not all(_is_as_declared(each, inputs) for each in told if isinstance(each, Fetch)):
        return None
    programs = sum(len(step.stages) for step in plan.passes)
    for write in told[:programs]:  # each task finds its program when it is bound, and never again
        assert isinstance(write, Write)
        _write(write, memory)([], [])
    steps = [_step(instruction, interpreter, memory) for instruction in told[programs:]]
    return Script(plan, steps, [node_bytes(node) for node in inputs])


def node_bytes(node: Input) -> int:
    """Return the bytes of an input."""
    nbytes = node.dtype.itemsize
    for length in node.shape:
        nbytes *= length
    return nbytes


def _instructions(machine: JobMachine) -> list[Instruction]:
    """Carry out a machine's instructions one after the other, with nothing behind them; at most some too many."""
    told: list[Instruction] = []
    waiting = deque(machine.start())
    while waiting and len(told) <= MAX_STEPS:
        instruction = waiting.popleft()
        told.append(instruction)
        if isinstance(instruction, Fetch | Dispatch | Send):
            waiting.extend(machine.done(instruction.token))
    return told


def _is_as_declared(fetch: Fetch, inputs: Sequence[Input]) -> bool:
    node = inputs[fetch.wanted.number]
    return fetch.wanted.order == (node.order or tuple(range(len(node.shape))))


def _step(instruction: Instruction, interpreter: Interpreter, memory: memoryview) -> Step:
    if isinstance(instruction, Dispatch | Compute):
        run = interpreter.bind(instruction.task)
        return lambda data, results: run()
    if isinstance(instruction, Fetch):
        return _fetch(instruction, memory)
    if isinstance(instruction, Send):
        return _send(instruction, memory)
    return _write(instruction, memory)


def _fetch(fetch: Fetch, memory: memoryview) -> Step:
    number, begin = fetch.wanted.number, fetch.wanted.offset
    end = begin + fetch.wanted.nbytes
    target = memory[fetch.address : fetch.address + fetch.wanted.nbytes]

    def copy(data: Data, results: Results) -> None:
        target[:] = memoryview(data[number])[begin:end]

    return copy


def _send(send: Send, memory: memoryview) -> Step:
    part = send.part
    source = memory[part.address : part.address + part.nbytes]
    begin, end = part.offset, part.offset + part.nbytes

    def copy(data: Data, results: Results) -> None:
        for output in send.outputs:
            results[output][begin:end] = source

    return copy


def _write(write: Write, memory: memoryview) -> Step:
    target, written = memory[write.address : write.address + len(write.data)], write.data

    def copy(data: Data, results: Results) -> None:
        target[:] = written

    return copy
