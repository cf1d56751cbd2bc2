"""The life of a job: its table, what is not in it, and the page that shows it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from arraymill_server.jobs.life import ENDED, TABLE, Event, Life, LifeError, State

DESIGN = Path(__file__).parents[4] / "server" / "DESIGN.md"

HAPPENINGS = [event for event in Event if event is not Event.SUBMIT]


def lives(events: tuple[Event, ...] = (), state: State = State.QUEUED) -> list[tuple[Event, ...]]:
    """Every life from its birth on, ended or not, in which no event comes twice."""
    found = [events]
    for (before, event), after in TABLE.items():
        if before is state and event not in events:
            found += lives((*events, event), after)
    return found


def lived(events: tuple[Event, ...]) -> Life:
    """A life in which some events have happened, a second apart."""
    life = Life("j7", 100.0)
    for at, event in enumerate(events, start=101):
        life.on(event, float(at), f"the {event}")
    return life


LIVES = lives()
ROADS = {lived(events).state: events for events in sorted(LIVES, key=len, reverse=True)}
"""A shortest life that leads to each state."""

BAD = [(state, event) for state in State for event in Event if (state, event) not in TABLE]


# ---------------------------------------------------------------------- the page


def table() -> str:
    """Return the table as the page shows it: what each event leads to, by state."""
    rows = [
        [
            f"`{state.name}`",
            *(f"`{TABLE[state, event].name}`" if (state, event) in TABLE else "" for event in HAPPENINGS),
        ]
        for state in State
    ]
    head = ["", *(event.value for event in HAPPENINGS)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def test_the_documentation_has_the_table() -> None:
    before, _, rest = DESIGN.read_text().partition("<!-- states -->\n")
    assert before
    assert rest.partition("\n<!-- end -->")[0] == table(), f"it should be:\n{table()}"


# ---------------------------------------------------------------------- the table


def test_every_state_is_reached_and_every_event_happens() -> None:
    assert set(ROADS) == set(State)
    assert {event for _, event in TABLE} == set(HAPPENINGS)


def test_no_state_is_come_back_to() -> None:
    """But a job may get its memory while it stops, which changes nothing."""
    for events in LIVES:
        states = [event.state for event in lived(events).story]
        changes = [after for before, after in pairwise(states) if after is not before]
        assert len({State.QUEUED, *changes}) == 1 + len(changes), states


def test_a_job_can_always_end_and_only_an_expiry_comes_after() -> None:
    ways_out = {before for (before, _), after in TABLE.items() if after in ENDED}
    assert ways_out == set(State) - {State.FAILED, State.CANCELLED, State.EXPIRED}
    assert {pair: after for pair, after in TABLE.items() if pair[0].has_ended} == {
        (State.SUCCEEDED, Event.EXPIRE): State.EXPIRED
    }


def test_a_job_that_was_cancelled_never_has_a_result() -> None:
    for events in LIVES:
        if Event.CANCEL in events:
            assert lived(events).state in (State.STOPPING, State.CANCELLED)


@pytest.mark.parametrize(("pair", "after"), TABLE.items())
def test_what_is_in_the_table_happens(pair: tuple[State, Event], after: State) -> None:
    state, event = pair
    life = lived(ROADS[state])
    before = life.story
    happened = life.on(event, 200.0, "why")
    assert (happened.job_id, happened.event, happened.at, happened.state) == ("j7", event, 200.0, after)
    assert (life.state, life.story) == (after, (*before, happened))
    assert str(happened) == f"200.000 {event} (why) → {after.name}"
    assert repr(life) == f"<Life of j7: {after.name}>"


@pytest.mark.parametrize(("state", "event"), BAD)
def test_what_is_not_in_the_table_is_a_defect_that_tells_the_story(state: State, event: Event) -> None:
    life = lived(ROADS[state])
    story = life.story
    with pytest.raises(LifeError) as caught:
        life.on(event, 200.0)
    first, *lines = str(caught.value).splitlines()
    assert first == f"job j7 was {event} in state {state.name}; its story:"
    assert lines == [f"  {line}" for line in map(str, story)]
    assert lines[0] == "  100.000 submitted → QUEUED"
    assert (life.state, life.story) == (state, story), "nothing has happened"


def test_a_story_is_short() -> None:
    """It is remembered for as long as its job."""
    assert max(len(lived(events).story) for events in LIVES) == 4
