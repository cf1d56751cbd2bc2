"""What a row is: who takes part, what is asked of them, and what is promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from suite.promises import Promise
from suite.quantities import Quantity
from suite.task import Task

MIB: Final = 1 << 20
GIB: Final = 1 << 30

SMALL: Final = 8_000
"""Bytes of 1,000 float64."""

MARGIN: Final = 1.25
"""Of the memory that a row needs: what allocators keep, and more than one has at a time."""

QUICK_BYTES: Final = 16 * MIB
QUICK_JOBS: Final = 64
QUICK: Final = {"beside": QUICK_BYTES, "idle_seconds": 1}
"""Most of an entry's options."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a row."""

    label: str
    contestant: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    clients: int = 1
    jobs: int = 0
    """Jobs of one run; 0: as many as the row says."""
    arrays: int = 1
    """Of the row's size, that it has all the time."""
    copies: int = 1
    """Arrays that it has beside those while it computes, about."""
    largest: int = 0
    """Bytes of the largest array that it is asked of, where its copies of larger ones would be too much; 0: of any."""

    def takes(self, nbytes: int) -> bool:
        """Tell whether it is asked of arrays of a size."""
        return not self.largest or nbytes <= self.largest


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured, of whom."""

    title: str
    work: str
    entries: tuple[Entry, ...]
    quantity: Quantity
    promises: tuple[Promise, ...] = ()
    sizes: tuple[int, ...] = (256 * MIB,)
    """The first is that of README's table."""
    has_sizes: bool = True
    """Whether --sizes may choose others."""
    jobs: int = 1
    in_flight: int = 1
    rounds: int = 9
    """With arrays of the first size."""
    further_rounds: int = 0
    """With arrays of each further size; 0: as many."""
    warm_ups: int = 2
    """Rounds of each size that are not counted."""
    measures_memory: bool = False
    also: tuple[Quantity, ...] = ()
    """Further columns of the table."""

    @property
    def sizes_are_told(self) -> bool:
        """Whether the size of the array is a figure of the row's."""
        return self.has_sizes or self.sizes[0] > SMALL

    def rounds_at(self, nbytes: int) -> int:
        """Return how many rounds are counted with arrays of a size."""
        return self.rounds if nbytes == self.sizes[0] else self.further_rounds or self.rounds

    def needs_bytes(self, nbytes: int) -> int:
        """Return about how much memory all take together with arrays of a size, whoever's turn it is."""
        entries = [entry for entry in self.entries if entry.takes(nbytes)]
        large = sum(int(entry.options.get("beside", 0)) for entry in entries)
        copies = max((entry.copies for entry in entries), default=0)
        return int(nbytes * (sum(entry.arrays for entry in entries) + copies) * MARGIN) + large

    def task(self, entry: Entry, nbytes: int) -> Task:
        """Return what is asked of an entry's contestant. Small arrays are computed on several times in a run."""
        jobs = entry.jobs or max(self.jobs, min(32, 32 * MIB // nbytes) if self.has_sizes else 1)
        return Task(self.work, nbytes, jobs, self.in_flight, entry.clients, entry.options, self.measures_memory)


def quick(row: Row) -> Row:
    """Return a row of a few seconds, which finds out whether everybody can do it: its figures say little."""
    factor = max(1, max(row.sizes[:2]) // QUICK_BYTES)
    sizes = tuple(size // factor for size in row.sizes[:2])
    entries = tuple(_quick(entry) for entry in row.entries)
    jobs = min(row.jobs, QUICK_JOBS)
    return replace(row, entries=entries, sizes=sizes, jobs=jobs, rounds=2, further_rounds=0, warm_ups=1)


def _quick(entry: Entry) -> Entry:
    options = {key: min(value, QUICK[key]) if key in QUICK else value for key, value in entry.options.items()}
    return replace(entry, options=options, jobs=min(entry.jobs, QUICK_JOBS // max(1, entry.clients)))
