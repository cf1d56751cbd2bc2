"""A host of the parts of a pass that computes with words instead of numbers."""

from __future__ import annotations

from random import Random

from arraymill_server.plan.host import Then
from arraymill_server.plan.model import Part, ResultSpec, Wanted
from arraymill_server.plan.program import BatchTask, BlockTask, CarryTask, FinishTask, MergeTask, ProgramRef, Task


class Clerk:
    """A host that computes with words: a partial is the name of its block, a merge puts two into brackets.

    Every method of the `Host` that a part of a pass may call is here; those that none of the tests needs refuse.
    """

    def __init__(self) -> None:
        self.memory: dict[int, str] = {}
        self.pending: list[tuple[Task | Part, Then]] = []
        self.results: dict[int, str] = {}

    def program(self, stage: int) -> ProgramRef:
        raise NotImplementedError

    def value_address(self, node: int) -> int:
        return 1 << 20

    def held_address(self, number: int) -> int:
        raise NotImplementedError

    def write(self, address: int, data: bytes) -> None:
        self.memory[address] = "identity"

    def compute(self, task: Task) -> None:
        match task:
            case MergeTask():
                left, right = self.memory[task.left[0].offset], self.memory[task.right[0].offset]
                self.memory[task.out[0].offset] = f"({left} {right})"
            case FinishTask():
                self.memory[task.out.offset] = self.memory[task.parts[0].offset]
            case CarryTask():
                carry, total = self.memory[task.carry[0].offset], self.memory[task.total[0].offset]
                self.memory[task.out[0].offset] = f"{carry}+{total}"
            case BlockTask() | BatchTask():
                raise NotImplementedError

    def dispatch(self, task: Task, then: Then) -> None:
        self.pending.append((task, then))

    def fetch(self, wanted: Wanted, address: int, then: Then) -> None:
        raise NotImplementedError

    def hold(self, wanted: Wanted, then: Then) -> bool:
        raise NotImplementedError

    def send(self, result: ResultSpec, part: Part, then: Then) -> None:
        self.results[part.offset] = self.memory[part.address]
        self.pending.append((part, then))

    def end_one(self, random: Random) -> None:
        """End something that is under way."""
        what, then = self.pending.pop(random.randrange(len(self.pending)))
        if not isinstance(what, Part):
            self.compute(what)
        then()
