"""Named places in the server's own code at which a test can let the server die.

The product knows nothing of them: a point is a method, and arming it puts a counter around that method in this process.

    arm("job remembered:3", crash)        # crash() before the third call of MemoryStorage.add
    arm("job remembered:3:after", crash)  # after it; of a coroutine: when it was made, and before it runs

A point that is not armed costs nothing.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Self

POINTS: Final[Mapping[str, str]] = {
    "memory leased": "arraymill_server.arena.arena:Arena.lease",
    "job remembered": "arraymill_server.jobs.storage:MemoryStorage.add",
    "event noted": "arraymill_server.jobs.storage:MemoryStorage.note",
    "job begun": "arraymill_server.jobs.run:JobRun.run",
    "bytes wanted": "arraymill_server.jobs.wants:Wants.open",
    "frame accepted": "arraymill_server.jobs.wants:Wants.accept",
    "record arrived": "arraymill_server.jobs.wants:Wants.arrived",
    "task queued": "arraymill_server.engine.pool:PoolEngine.submit",
    "task answered": "arraymill_server.engine.pool:PoolEngine.worker_replied",
    "worker died": "arraymill_server.engine.pool:PoolEngine.worker_died",
    "result sent": "arraymill_server.rpc.lanes:StreamExchange.send",
    "results committed": "arraymill_server.jobs.pending:PendingGroup.commit",
    "array deleted": "arraymill_server.jobs.residents:Residents.delete",
}
"""The method behind each name."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """A place, and when to die there."""

    name: str
    hits: int = 1
    """The call that counts."""
    after: bool = False
    """After the call instead of before."""

    def __str__(self) -> str:
        return f"{self.name}:{self.hits}{':after' if self.after else ''}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote."""
        name, hits, *rest = text.split(":")
        return cls(name, int(hits), bool(rest))

    @classmethod
    def choose(cls, random: Random, most_hits: int) -> Self:
        """Return any point."""
        return cls(random.choice(sorted(POINTS)), random.randint(1, most_hits), random.random() < 0.5)


def crash() -> None:
    """End this process as kill -9 and the loss of power do."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: CrashPoint, strike: Callable[[], None] = crash) -> Callable[[], None]:
    """Let the process die at a point.

    Args:
        point: Where and when.
        strike: What happens there.

    Returns:
        A function that disarms the point.
    """
    owner, name = _found(POINTS[point.name])
    method: Callable[..., Any] = getattr(owner, name)
    calls = 0

    @functools.wraps(method)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        is_due = calls == point.hits
        if is_due and not point.after:
            strike()
        answer = method(*args, **kwargs)
        if is_due and point.after:
            strike()
        return answer

    setattr(owner, name, counted)
    return lambda: setattr(owner, name, method)


def _found(path: str) -> tuple[Any, str]:
    module, _, names = path.partition(":")
    owner, _, method = names.rpartition(".")
    return functools.reduce(getattr, owner.split("."), importlib.import_module(module)), method
