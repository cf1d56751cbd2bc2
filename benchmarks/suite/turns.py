"""Taking turns: A B C, B A C, …, so that what the machine does meanwhile meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from suite.lineup import ContestantError
from suite.task import Figures

PAUSE_SECONDS: Final = 0.05
"""Between turns: what the one before still frees or writes is not the next one's."""


@dataclass(slots=True)
class Scores:
    """What was measured of each player, and why nothing was of others."""

    samples: dict[str, list[Figures]] = field(default_factory=dict[str, list[Figures]])
    """One for each round; only of players who took part in all of them."""
    missing: dict[str, str] = field(default_factory=dict[str, str])


def take_turns(
    players: Mapping[str, Callable[[], Figures]],
    *,
    rounds: int,
    warm_ups: int,
    random: Random,
    pause: Callable[[float], None] = time.sleep,
) -> Scores:
    """Let players take turns; who fails once takes no further part.

    Args:
        players: Each runs its work once.
        rounds: How many are counted.
        warm_ups: Rounds before those.
        random: Draws the order of each round anew, so that nobody has the same one before him each time.
        pause: Waits for so many seconds.
    """
    scores = Scores({name: [] for name in players})
    for number in range(warm_ups + rounds):
        for name in random.sample(list(scores.samples), len(scores.samples)):
            pause(PAUSE_SECONDS)
            try:
                figures = players[name]()
            except ContestantError as error:
                del scores.samples[name]
                scores.missing[name] = str(error)
                continue
            if number >= warm_ups:
                scores.samples[name].append(figures)
    return scores
