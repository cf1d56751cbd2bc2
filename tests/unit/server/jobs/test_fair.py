"""Fair turns: order, weights, newcomers, and those that leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from arraymill_server.jobs.fair import Entry, FairQueue, Tags

CLIENTS = st.sampled_from("abc")
COSTS = st.integers(1, 9)
PUSHES = st.lists(st.tuples(CLIENTS, COSTS), max_size=30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), CLIENTS, COSTS),
        st.tuples(st.just("pop"), st.just(""), st.just(0)),
        st.tuples(st.just("discard"), st.just(""), st.integers(0, 30)),
    ),
    max_size=60,
)


def queue_of(pushes: Iterable[tuple[str, int]]) -> FairQueue[str]:
    """A queue of items that are called like their clients."""
    queue = FairQueue[str]()
    for client, cost in pushes:
        queue.push(client, cost, client)
    return queue


def popped(queue: FairQueue[str], count: int | None = None) -> str:
    return "".join(queue.pop() for _ in range(len(queue) if count is None else count))


def test_clients_take_turns() -> None:
    queue = queue_of([("a", 2)] * 4 + [("b", 2)] * 2)
    assert repr(queue) == "<FairQueue 6 waiting: <Tags at 0 | 2 flows>>"
    assert popped(queue) == "ababaa"


def test_turns_are_weighted_by_cost() -> None:
    assert popped(queue_of([("a", 6)] * 2 + [("b", 2)] * 6)) == "bbabbbab"


def test_a_newcomer_stands_beside_the_first_of_the_others() -> None:
    queue = queue_of([("a", 2)] * 9)
    assert popped(queue, 4) == "aaaa"
    queue.push("b", 2, "b")
    assert popped(queue) == "abaaaa"


def test_who_cancels_its_last_wins_no_better_place_for_the_next() -> None:
    queue = queue_of([("a", 2)] * 3 + [("b", 2)] * 3)
    for _ in range(5):
        queue.discard(queue.push("a", 2, "cancelled"))
        queue.push("a", 2, "A")
    assert popped(queue) == "abababAAAAA"


def test_the_clock_never_goes_back() -> None:
    """The waiting line for memory serves out of order."""
    tags = Tags[str]()
    tags.served(7)
    tags.served(3)
    assert tags.join("a", 1) == 8


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_a_client_keeps_its_order_and_who_left_is_gone(steps: list[tuple[str, str, int]]) -> None:
    queue = FairQueue[tuple[str, int]]()
    waiting: dict[tuple[str, int], Entry[tuple[str, int]]] = {}
    for number, (step, client, count) in enumerate(steps):
        if step == "push":
            waiting[client, number] = queue.push(client, count, (client, number))
        elif step == "pop" and queue:
            served = queue.pop()
            own = [item for item in waiting if item[0] == served[0]]
            assert served == own[0]
            queue.discard(waiting.pop(served))  # it is out already
        elif step == "discard" and waiting:
            queue.discard(waiting.pop(list(waiting)[count % len(waiting)]))
        clients = len({client for client, _ in waiting})
        assert len(queue) == len(waiting)
        assert repr(queue).endswith(f"| {clients} flows>>"), "who has nothing waiting leaves no trace"


@settings(max_examples=100, deadline=None)
@given(PUSHES)
def test_while_clients_wait_none_gets_much_more_than_another(pushes: list[tuple[str, int]]) -> None:
    """What two of them have got differs by no more than the largest cost of each."""
    queue = FairQueue[tuple[str, int]]()
    left = Counter[str]()
    for client, cost in pushes:
        queue.push(client, cost, (client, cost))
        left[client] += 1
    got = Counter[str]()
    largest = {client: max(cost for each, cost in pushes if each == client) for client in left}
    while queue and min(left.values()):
        client, cost = queue.pop()
        left[client] -= 1
        got[client] += cost
        for one in left:
            for other in left:
                assert got[one] - got[other] <= largest[one] + largest[other]


@settings(max_examples=100, deadline=None)
@given(PUSHES, st.integers(0, 30))
def test_at_most_one_of_each_other_client_goes_before_a_newcomer(pushes: list[tuple[str, int]], count: int) -> None:
    queue = queue_of((client, cost + 1) for client, cost in pushes)
    popped(queue, min(count, len(queue)))
    queue.push("new", 1, "|")
    before, _, _ = popped(queue).partition("|")
    assert len(set(before)) == len(before)


@settings(max_examples=100, deadline=None)
@given(PUSHES, CLIENTS, COSTS)
def test_who_was_served_and_comes_again_is_a_newcomer(pushes: list[tuple[str, int]], client: str, cost: int) -> None:
    """It has neither saved up nor used up anything."""
    queue = queue_of(pushes)
    popped(queue)
    assert queue.push(client, cost, client).tag == queue.push("new", cost, "new").tag
