"""Turn-taking, with players that write down when it was their turn."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from suite.lineup import ContestantError
from suite.task import Figures
from suite.turns import PAUSE_SECONDS, take_turns

ROUNDS = 5
WARM_UPS = 2


class Log:
    """Who played when."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.pauses: list[float] = []

    def player(self, name: str, fails_at: int = -1) -> Callable[[], Figures]:
        def play() -> Figures:
            self.turns.append(name)
            number = self.turns.count(name)
            if number == fails_at:
                raise ContestantError("no more")
            return {"seconds": float(number)}

        return play

    def rounds(self, size: int) -> list[list[str]]:
        return [self.turns[start : start + size] for start in range(0, len(self.turns), size)]


def test_everybody_has_one_turn_in_each_round_in_an_order_of_its_own() -> None:
    log = Log()
    players = {name: log.player(name) for name in "ABC"}
    scores = take_turns(players, rounds=ROUNDS, warm_ups=WARM_UPS, random=Random(1), pause=log.pauses.append)
    rounds = log.rounds(3)
    assert [sorted(each) for each in rounds] == [["A", "B", "C"]] * (ROUNDS + WARM_UPS)
    assert len(set(map(tuple, rounds))) > 2
    assert scores.missing == {}
    assert log.pauses == [PAUSE_SECONDS] * len(log.turns)


def test_rounds_to_warm_up_are_not_counted() -> None:
    log = Log()
    scores = take_turns(
        {"A": log.player("A")}, rounds=ROUNDS, warm_ups=WARM_UPS, random=Random(1), pause=log.pauses.append
    )
    assert [each["seconds"] for each in scores.samples["A"]] == [3.0, 4.0, 5.0, 6.0, 7.0]


def test_who_fails_takes_no_further_part_and_the_others_go_on() -> None:
    log = Log()
    players = {"A": log.player("A"), "B": log.player("B", fails_at=4)}
    scores = take_turns(players, rounds=ROUNDS, warm_ups=WARM_UPS, random=Random(1), pause=log.pauses.append)
    assert list(scores.samples) == ["A"]
    assert len(scores.samples["A"]) == ROUNDS
    assert scores.missing == {"B": "no more"}
    assert log.turns.count("B") == 4
