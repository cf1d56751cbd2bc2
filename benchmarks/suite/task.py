"""What is asked of a contestant, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from suite.statistics import percentile

Figures: TypeAlias = dict[str, float]
"""Named numbers of one run; `seconds` is always there. Units are in the names."""

Run: TypeAlias = Callable[[], tuple[Figures, Any]]
"""Does the work once and times it; returns also its answer, to be checked: a number, an array, many of them, `Moved`
where nothing was computed, or None where there is nothing to check."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The answer of those who move an array and compute nothing."""

    nbytes: int
    """Bytes that the server has told it had."""
    back: Any = None
    """The array that came back."""


@dataclass(frozen=True, slots=True)
class Task:
    """One work with its parameters."""

    work: str
    nbytes: int
    """Size of the array of float64, or of each of them."""
    jobs: int = 1
    """Jobs of one run, of each client: one after the other, or `in_flight` together."""
    in_flight: int = 1
    """Jobs that one client has begun and not yet seen the end of."""
    clients: int = 1
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What this contestant alone understands."""
    measures_memory: bool = False
    """Also sample the memory of its processes, which takes time: such a run's seconds are not used."""

    def to_json(self) -> dict[str, Any]:
        """Return what `Task(**…)` takes."""
        return asdict(self)


Works: TypeAlias = Mapping[str, Callable[[Task], AbstractContextManager[Run]]]
"""What a contestant can do: each work connects once and yields what runs it."""


def one_by_one(call: Callable[[], Any], jobs: int) -> Run:
    """Time each of so many calls; the seconds are their median."""

    def run() -> tuple[Figures, Any]:
        latencies: list[float] = []
        answer: Any = None
        for _ in range(jobs):
            answer = None  # an array of that size is free for the next one
            begin = time.perf_counter()
            answer = call()
            latencies.append(time.perf_counter() - begin)
        return of_latencies(latencies), answer

    return run


def all_at_once(call: Callable[[], list[Any]], jobs: int) -> Run:
    """Time many jobs in flight together; the seconds are those of one of them: the whole divided by their number."""

    def run() -> tuple[Figures, Any]:
        begin = time.perf_counter()
        answers = call()
        seconds = time.perf_counter() - begin
        if len(answers) != jobs:
            raise RuntimeError(f"{len(answers)} answers to {jobs} jobs")
        return {"seconds": seconds / jobs, "jobs_per_second": jobs / seconds}, answers

    return run


def of_latencies(latencies: Sequence[float]) -> Figures:
    """Sum up how long jobs took that were made one after the other."""
    middle, late = percentile(latencies, 50), percentile(latencies, 99)
    return {"seconds": middle, "p50_seconds": middle, "p99_seconds": late, "jobs": len(latencies)}
