"""The run of a job as a sans-I/O machine: completions in, instructions out.

`JobMachine` walks through the passes of a plan; `PassMachine` moves the blocks of one pass through their life::

    begun ─▶ regions fetched ─▶ stage 0 ─▶ (carry) ─▶ stage 1 … ─▶ computed ─▶ partials absorbed, results sent ─▶ gone

Rules:

1. Blocks begin in the order of their numbers, as slots become free, so the client is asked for data in that order.
2. Partials are absorbed in the order of block numbers, whatever order they arrive in: the same bits always.
3. A slot is free when its block's partials are absorbed, the totals of its scans have joined their carries and its
   results are sent: nothing reads it any more.
4. A pass ends when all its slots are free and all its results are sent; then the next pass takes over its memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from arraymill_server.plan.host import Then
from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Instruction, Send, Write
from arraymill_server.plan.model import JobPlan, Part, PassPlan, ResultSpec, Stream, Wanted
from arraymill_server.plan.pass_machine import PassMachine
from arraymill_server.plan.program import ProgramRef, Task
from arraymill_server.plan.workspace import JobLayout, PassLayout


class JobMachine:
    """Runs a plan in a workspace.

    Args:
        plan: The plan.
        layout: Where things lie in the workspace.
        base: Arena address of the workspace.
        keep_addresses: Arena address of the new resident array of each output node, for plans that keep their outputs.
    """

    def __init__(
        self, plan: JobPlan, layout: JobLayout, *, base: int, keep_addresses: Mapping[int, int] | None = None
    ) -> None:
        self._plan = plan
        self._layout = layout
        self._base = base
        self._keep_addresses = keep_addresses or {}
        self._instructions: list[Instruction] = []
        self._then: dict[int, Then] = {}
        self._tokens = 0
        self._regions: dict[tuple[int, int], list[Then] | None] = {}
        """Regions of held inputs: waiting blocks while on their way, None when there."""
        self._complete: set[int] = set()
        """Held inputs of which a pass has read every block."""
        self._number = -1
        self._pass: PassMachine | None = None
        self._before = 0
        """Blocks of the passes that have ended."""

    def __repr__(self) -> str:
        return f"<JobMachine pass {self._number + 1} of {len(self._plan.passes)}, {self.blocks_done} blocks done>"

    @property
    def blocks_done(self) -> int:
        return self._before + (self._pass.blocks_done if self._pass else 0)

    @property
    def is_finished(self) -> bool:
        """True when every pass has ended and every result is sent."""
        return self._number >= len(self._plan.passes) and not self._then

    def start(self) -> list[Instruction]:
        """Begin; return the first instructions."""
        for step, addresses in zip(self._plan.passes, self._layout.programs, strict=True):
            for stage, address in zip(step.stages, addresses, strict=True):
                self._instructions.append(Write(self._base + address, stage.encoded))
        self._next_pass()
        self._go_on()
        return self._take()

    def done(self, token: int) -> list[Instruction]:
        """Report that an instruction has ended; return what to do next."""
        self._then.pop(token)()
        self._go_on()
        return self._take()

    # ------------------------------------------------------------------ for the pass machine

    def program(self, stage: int) -> ProgramRef:
        """Where the program of a stage of the running pass lies."""
        known = self._plan.passes[self._number].stages[stage]
        return ProgramRef(known.digest, self._base + self._layout.programs[self._number][stage], len(known.encoded))

    def value_address(self, node: int) -> int:
        """Where a whole value lies."""
        kept = self._keep_addresses.get(node)
        return self._base + self._layout.values[node] if kept is None else kept

    def held_address(self, number: int) -> int:
        """Where a held input lies."""
        return self._base + self._layout.held[number]

    def write(self, address: int, data: bytes) -> None:
        self._instructions.append(Write(address, data))

    def compute(self, task: Task) -> None:
        self._instructions.append(Compute(task))

    def dispatch(self, task: Task, then: Then) -> None:
        self._instructions.append(Dispatch(self._token(then), task))

    def fetch(self, wanted: Wanted, address: int, then: Then) -> None:
        self._instructions.append(Fetch(self._token(then), wanted, address))

    def hold(self, wanted: Wanted, then: Then) -> bool:
        """Make sure that a region of a held input is there; True when it is there already."""
        if wanted.number in self._complete:
            return True
        key = (wanted.number, wanted.offset)
        if key not in self._regions:
            self._regions[key] = []
            self.fetch(wanted, self.held_address(wanted.number) + wanted.offset, lambda: self._arrived(key))
        waiting = self._regions[key]
        if waiting is None:
            return True
        waiting.append(then)
        return False

    def send(self, result: ResultSpec, part: Part, then: Then) -> None:
        self._instructions.append(Send(self._token(then), result.outputs, part))

    # ------------------------------------------------------------------ inside

    def _token(self, then: Then) -> int:
        self._tokens += 1
        self._then[self._tokens] = then
        return self._tokens

    def _take(self) -> list[Instruction]:
        taken, self._instructions = self._instructions, []
        return taken

    def _arrived(self, key: tuple[int, int]) -> None:
        waiting = self._regions[key]
        self._regions[key] = None
        for then in waiting or ():
            then()

    def _go_on(self) -> None:
        while self._pass is not None:
            self._pass.go_on()
            if not self._pass.is_finished:
                return
            self._before += self._pass.blocks_done
            self._complete.update(_held_inputs(self._plan.passes[self._number]))
            self._send_whole()
            self._next_pass()

    def _send_whole(self) -> None:
        """Send the results that the ended pass collected."""
        for result in self._plan.passes[self._number].results:
            if result.whole and result.outputs and result.nbytes and not self._plan.keep:
                self.send(result, Part(0, result.nbytes, self.value_address(result.node)), _nothing)

    def _next_pass(self) -> None:
        self._number += 1
        self._pass = None
        if self._number < len(self._plan.passes):
            step = self._plan.passes[self._number]
            self._pass = self._make_pass(step, self._layout.passes[self._number])
            self._pass.start()

    def _make_pass(self, plan: PassPlan, layout: PassLayout) -> PassMachine:
        return PassMachine(plan, layout, self._base, self)


def _nothing() -> None:
    """A whole result lies in its own area until the job ends."""


def _held_inputs(plan: PassPlan) -> Iterator[int]:
    """The held inputs that a pass has read to the end; one over nothing has read nothing, whatever its operands."""
    for operand in plan.operands if len(plan.domain) else ():
        if isinstance(operand.source, Stream) and operand.source.held:
            yield operand.source.number
