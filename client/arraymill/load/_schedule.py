"""When jobs are meant to be sent. Nothing here knows how the server is doing: that makes a loop an open one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, count
from random import Random
from typing import Final

BATCH: Final = 256
"""Choices that are drawn at once: one by one they would cost as much as a small job's place in a message."""


class Arrival(StrEnum):
    """How the jobs of an open loop are spread."""

    UNIFORM = "uniform"
    """At equal distances."""
    POISSON = "poisson"
    """Independent of each other, as those of many people are: the distances are exponential."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of one generator."""

    place: int
    of: int

    def part(self, whole: int) -> int:
        """Return its part of a number of things, so that all parts together are the whole."""
        return whole // self.of + (self.place < whole % self.of)

    def seed(self, seed: int, number: int) -> str:
        """Return a seed of its own, for one step."""
        return f"{seed}/{number}/{self.place}"


def arrivals(rate: float, arrival: Arrival, share: Share, seed: str, begin: float = 0.0) -> Iterator[float]:
    """Return the times at which one generator is meant to send, in seconds, without end.

    Args:
        rate: Jobs per second of all generators together.
        arrival: How they are spread. Those of all generators together are so as well.
        share: Of this generator.
        seed: Of what is random.
        begin: No time is before it.
    """
    if arrival is Arrival.UNIFORM:
        return (begin + (share.place + number * share.of) / rate for number in count())
    random, own = Random(seed), rate / share.of
    return accumulate((random.expovariate(own) for _ in count()), initial=begin + random.expovariate(own))


def choices(weights: Sequence[float], seed: str) -> Iterator[int]:
    """Return which entry of the mix each job is, at random, without end."""
    if len(weights) == 1:
        while True:
            yield 0
    random, places = Random(seed), range(len(weights))
    while True:
        yield from random.choices(places, weights, k=BATCH)
