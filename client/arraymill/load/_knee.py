"""The knee: the largest rate that a server holds.

A server below its knee answers as many jobs as come, in about the time that one takes alone. Above, it answers fewer
than come, and the rest wait longer and longer. In between the times grow while the rate is still held, which is why
both are looked at. A step holds its rate when

1. at least `HELD` of the jobs that were meant to be sent ended well within the step's time, or not much later
   (`_tally.GRACE_SHARE`),
2. at most `FAILED` of its jobs did not end well, and
3. nine in ten jobs took at most `SLOWER` times what nine in ten took in the fastest step so far.

The knee is the rate of the last step before the first one that does not hold its rate. A step in which the generator
was the limit says nothing of the server: the knee is then at least the rate before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from arraymill.load._report import Step

HELD: Final = 0.95
FAILED: Final = 0.01
SLOWER: Final = 5.0

_QUANTILE: Final = "0.9"


def find_knee(steps: Sequence[Step]) -> float | None:
    """Return the knee, None where not even the first step held its rate, or none had one."""
    knee, fastest = None, float("inf")
    for step in steps:
        if step.rate is None or step.latency is None or step.generator.is_limit:
            break
        fastest = min(fastest, step.latency.quantiles[_QUANTILE])
        if not _holds(step, fastest):
            break
        knee = step.rate
    return knee


def _holds(step: Step, fastest: float) -> bool:
    failed = sum(step.errors.values())
    slowest = 0.0 if step.latency is None else step.latency.quantiles[_QUANTILE]
    return (step.kept_up or 0.0) >= HELD and failed <= FAILED * (step.jobs + failed) and slowest <= SLOWER * fastest
