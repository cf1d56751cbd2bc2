"""A client may hold seven times what it leaves free, whatever the others do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_server.jobs.shares import SHARE, Shares

CLIENTS = "abc"


def test_the_first_array_of_a_client_may_have_all() -> None:
    shares = Shares(100)
    assert shares.may_claim("a", 100)
    assert shares.may_place("a", 100)
    assert not shares.may_claim("a", 101)
    shares.place("a", 84)
    assert shares.may_place("b", 16)
    assert shares.may_claim("b", 16)
    assert not shares.may_claim("b", 17)
    assert shares.may_place("a", 4)
    assert not shares.may_place("a", 5)
    assert repr(shares) == "<Shares of 1 clients: 84 of 100 bytes>"


def test_who_is_nobody_has_no_share() -> None:
    shares = Shares(100)
    shares.place("", 90)
    assert shares.may_claim("", 10)
    assert shares.may_place("", 10)
    assert not shares.may_claim("", 11)


def test_what_is_claimed_counts_against_its_client_alone() -> None:
    shares = Shares(100)
    shares.claim("a", 70)
    assert not shares.may_claim("a", 21)
    assert shares.may_claim("a", 20)
    assert shares.may_claim("b", 100)
    assert shares.may_place("a", 100), "nothing of it is there"
    shares.claim("a", -70)
    assert shares.may_claim("a", 100)


def test_the_refusal_has_the_numbers_and_a_next_step() -> None:
    shares = Shares(8 << 20)
    shares.place("a", 3 << 20)
    shares.place("b", 1 << 20)
    error = shares.refusal("a", 2 << 20, 7.5)
    assert str(error).startswith(
        "the array takes 2 MiB, but resident arrays hold 4 MiB of the 8 MiB that they may, 3 MiB of this client, which "
        "may hold 7 times what it leaves free; delete arrays or let them expire sooner (ttl), "
        "or raise --resident-budget"
    )
    assert error.retry_after == 7.5
    assert error.details == {
        "retry_after": "7.5",
        "needed_bytes": str(2 << 20),
        "client_bytes": str(3 << 20),
        "free_bytes": str(4 << 20),
        "used_bytes": str(4 << 20),
        "budget_bytes": str(8 << 20),
    }


@pytest.mark.parametrize("may", ["may_claim", "may_place"])
@given(asked=st.lists(st.tuples(st.sampled_from(CLIENTS), st.integers(1, 30)), max_size=40))
def test_whoever_comes_next_finds_room(may: str, asked: list[tuple[str, int]]) -> None:
    """Whoever takes what it can get in pieces of one byte leaves a seventh of what it holds."""
    shares, held = Shares(100), Counter[str]()
    allowed: Any = getattr(shares, may)
    for client, nbytes in asked:
        for _ in range(nbytes):
            if allowed(client, 1) and held.total() < 100:
                shares.place(client, 1)
                held[client] += 1
        if held[client] > 1:
            assert held[client] - 1 <= SHARE * (100 - held.total()) or not allowed(client, 1)
    assert all(shares.may_place("next", size) for size in (1, 100 - held.total()))
    assert held.total() < 100
