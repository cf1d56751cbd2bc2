"""Small jobs: computed on the event loop, where a worker would cost more than the work.

Theory of operation. A job whose graph has come before, with other elements in it, has been read, checked, planned and
laid out before. What is left is written down as a script (`plan.script`), and playing it takes some 20 µs, where the
long way takes a millisecond, in which it has a worker for 20 µs. The long way is for what is new, large or slow::

    first time       ─▶ the long way; what it took in a worker is noted
    second time      ─▶ likewise, and if it was quick it becomes a script
    from then on     ─▶ the script, as long as it takes less than SMALL_SECONDS

What a script takes is processor time: where a machine has more to do than it can, everything takes longer by the clock.
One that has become slow goes the long way, and is tried again the sooner the less it was too slow.

Nothing of it can be seen but in time: scripts run the tasks of the long way on the same bytes. A job whose kernels
raise goes the long way and fails there, with the same words. What changes from job to job (resident arrays) or has
effects (keeping a result) has no script.

Graphs are compared as bytes, without their elements: equal bytes are equal graphs. Two encodings of one graph are two
entries, at worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

import numpy as np

from arraymill_proto.graph import Graph, Resident
from arraymill_proto.validate import infer_graph
from arraymill_server.arena.memory import Memory
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.layout import Recent
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.script import Data, Results, Script, script_of

SMALL_SECONDS: Final = 100e-6
"""What a script may take of the event loop. A dispatch to a worker and back takes about as long of the loop itself."""

WORKSPACE_BYTES: Final = 512 << 10
"""Memory of all scripts, one at a time: it stays in the cache. A job of 64 KiB in and out needs a third of it."""

KEY_BYTES: Final = 1024
"""Longest graph, without its elements, that is remembered: one of a dozen nodes. Longer ones take longer, too."""

KNOWN: Final = 512
"""Graphs that are remembered, those used last: half a MiB of keys, and some 10 KB for each that has a script."""

SMOOTHING: Final = 1 / 8
"""Weight of the latest playing in what a script is expected to take."""

TRIAL_SECONDS: Final = 3 * SMALL_SECONDS
"""What a job may have taken in a worker, by the clock, if it is to become a script. Workers are nicer than the loop."""

PATIENCE: Final = 0.98
"""What is left of the time that a script is expected to take after each job that has gone the long way instead: one
that takes twice SMALL_SECONDS is tried again after 34 jobs."""

_PAGE_BYTES: Final = 4096


@dataclass(slots=True)
class Known:
    """A graph that has come before."""

    worker_seconds: float
    """The least that it has taken in workers."""
    operation: str
    """What its jobs are counted as."""
    script: Script | None = None
    seconds: float = 0.0
    """What playing the script is expected to take."""
    last_seconds: float = 0.0
    """What it took the last time."""
    is_barred: bool = False
    """Whether it has been found to be none for a script."""

    def note(self, seconds: float) -> None:
        """Take in what playing took: one that is slow does not count, the garbage collector may have come by."""
        self.seconds += SMOOTHING * (min(seconds, self.last_seconds) - self.seconds)
        self.last_seconds = seconds


class Part(NamedTuple):
    """What is played."""

    known: Known
    script: Script


class Played(NamedTuple):
    """What became of a small job."""

    script: Script
    results: Results
    seconds: float
    """Of processor time."""


class SmallJobs:
    """Plays the jobs that have scripts.

    Args:
        limits: Of plans, as for the long way.
    """

    def __init__(self, limits: PlanLimits) -> None:
        self._limits = limits
        self._memory = _pages(WORKSPACE_BYTES)
        self._interpreter = Interpreter(Memory(self._memory))
        self._known: Recent[bytes, Known] = Recent(KNOWN)
        self.played = 0
        """Jobs that were played since the start."""

    def __repr__(self) -> str:
        return f"<SmallJobs: {len(self._known)} graphs known, {self.played:,} jobs played>"

    def find(self, key: bytes, data: Data) -> Part | None:
        """Return what is to be played, if a job has a script that is quick.

        Args:
            key: Its graph, as bytes, without the elements of its inputs.
            data: Those.
        """
        known = self._known.find(key)
        if known is None or known.script is None or known.seconds > SMALL_SECONDS or not known.script.fits(data):
            return None
        return Part(known, known.script)

    def play(self, part: Part, data: Data) -> Played | None:
        """Run a job now; None: a kernel has raised, the long way tells what.

        Args:
            part: Of `find`.
            data: As there.
        """
        try:
            results, seconds = part.script.play(data)
        except Exception:  # the long way raises it again, and has the words for it
            return None
        part.known.note(seconds)
        self.played += 1
        return Played(part.script, results, seconds)

    def learn(self, key: bytes, graph: Graph, seconds: float, operation: str) -> None:
        """Take in that a job has gone the long way, and went well.

        Args:
            key: As of `find`.
            graph: The same graph.
            seconds: What it took of workers.
            operation: What it is counted as.
        """
        known = self._known.find(key)
        if known is None:
            self._known.get(key, lambda: Known(seconds, operation))
            return
        known.seconds *= PATIENCE
        known.worker_seconds = min(known.worker_seconds, seconds)
        if known.script is None and not known.is_barred and known.worker_seconds <= TRIAL_SECONDS:
            known.script = self._script(graph)
            known.is_barred = known.script is None

    def _script(self, graph: Graph) -> Script | None:
        if any(isinstance(node, Resident) for node in graph.nodes):
            return None
        plan = plan_job(graph, infer_graph(graph, _no_residents), {}, self._limits)
        return script_of(graph, plan, self._interpreter, self._memory)


def _no_residents(node: Resident) -> NoReturn:
    raise AssertionError(f"{node} is none of a small job")


def _pages(nbytes: int) -> memoryview:
    """Return memory that begins like a workspace of the arena: some kernels round by where their operands lie."""
    memory = np.zeros(nbytes + _PAGE_BYTES, np.uint8)
    begin = -memory.ctypes.data % _PAGE_BYTES
    return memory[begin : begin + nbytes].data
