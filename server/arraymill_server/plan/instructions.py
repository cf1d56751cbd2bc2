"""What a job's machine asks its shell to do.

The shell carries out instructions in the order in which they come. Those with a token end later: the shell then calls
`JobMachine.done(token)` and gets the next instructions. Those without are done when the shell goes on to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from arraymill_server.plan.model import Part, Wanted
from arraymill_server.plan.program import Task


@dataclass(frozen=True, slots=True)
class Write:
    """Put some bytes into the arena, now."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a range of an input into the arena; done when all of it is there."""

    token: int
    wanted: Wanted
    address: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Run a small task here and now."""

    task: Task


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Run a task on the engine; done when it ended."""

    token: int
    task: Task


@dataclass(frozen=True, slots=True)
class Send:
    """Send a range of a result; done when the arena is no longer read."""

    token: int
    outputs: tuple[int, ...]
    part: Part


Instruction: TypeAlias = Write | Fetch | Compute | Dispatch | Send
