"""Who gets a place, who is refused, and what is said to those who are."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from arraymill_proto.errors import BusyError, ConnectionFailedError, Reason
from arraymill_proto.identity import CLIENT_KEY, MAX_CLIENT_CHARS, is_client_name
from arraymill_server.quantities import MIB
from arraymill_server.rpc.calls import READ_BYTES, Calls, Places, client_of


class Caller:
    """What a call tells of its client."""

    def __init__(self, peer: str, metadata: Any = ()) -> None:
        self._peer = peer
        self._metadata = metadata

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> Any:
        return self._metadata


@pytest.mark.parametrize(
    ("peer", "metadata", "client"),
    [
        ("ipv4:10.0.0.1:4711", (), "ipv4:10.0.0.1:4711"),
        ("ipv4:10.0.0.1:4711", None, "ipv4:10.0.0.1:4711"),
        ("ipv4:10.0.0.1:4711", (("other", "x"), (CLIENT_KEY, "mine")), "ipv4:10.0.0.1 mine"),
        ("ipv6:%5B::1%5D:4711", ((CLIENT_KEY, "mine"),), "ipv6:%5B::1%5D mine"),
        ("unix:", ((CLIENT_KEY, "mine"),), "unix mine"),
        ("unix:", ((CLIENT_KEY, "not mine"),), "unix:"),
        ("unix:", ((CLIENT_KEY, b"mine"),), "unix:"),
    ],
)
def test_whose_call_it_is(peer: str, metadata: Any, client: str) -> None:
    assert client_of(Caller(peer, metadata)) == client


def test_names_of_clients() -> None:
    assert is_client_name("x" * MAX_CLIENT_CHARS)
    assert not any(map(is_client_name, ("", "x" * (MAX_CLIENT_CHARS + 1), "a b", "ä", "a\n")))


def take_all(places: Places, client: str, stack: ExitStack) -> int:
    """Take places until one is refused."""
    taken = 0
    while True:
        try:
            stack.enter_context(places.taken(client))
        except BusyError:
            return taken
        taken += 1


def test_whoever_asks_for_everything_leaves_half() -> None:
    places = Places(100, "run jobs", "--max-streams")
    with ExitStack() as stack, capture_logs() as logs:
        assert take_all(places, "first", stack) == 51
        assert take_all(places, "second", stack) == 25
        assert take_all(places, "third", stack) == 13
        with pytest.raises(BusyError) as caught:
            places.check("first")
        assert repr(places) == "<Places of calls that run jobs: 89 of 100 held>"
    assert str(caught.value) == (
        "89 of 100 calls that run jobs are open (--max-streams 100), 51 of them this client's, which may have as many "
        "as are free; try again in 1 s"
    )
    assert caught.value.details == {"retry_after": "1.0", "calls": "89", "client_calls": "51", "limit": "100"}
    assert [entry["event"] for entry in logs] == ["calls refused"], "one line for all of them"
    assert repr(places) == "<Places of calls that run jobs: 0 of 100 held>"


def test_the_same_holds_for_the_bytes_of_messages() -> None:
    places = Places(100, "run jobs", budget_bytes=64 * MIB)
    with ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(places.taken("first", MIB))
        with pytest.raises(BusyError) as caught:
            places.check("first", MIB)
        places.check("first")
        for _ in range(16):
            stack.enter_context(places.taken("second", MIB))
        with pytest.raises(BusyError):
            places.check("second", MIB)
        places.check("third", 16 * MIB)
        with pytest.raises(BusyError):
            places.check("third", 16 * MIB + 1)
    assert str(caught.value) == (
        "1 MiB for the message and the plan of a job, but those of calls that run jobs hold 32 MiB of 64 MiB, 32 MiB "
        "of them this client's, which may have as much as is free; try again in 1 s, stream the arrays on Run, or make "
        "the graph smaller"
    )
    assert caught.value.details["limit_bytes"] == str(64 * MIB)


def test_refusals_are_counted() -> None:
    calls = Calls(1)
    with calls.jobs.taken("first"), pytest.raises(BusyError):
        calls.jobs.check("second")
    with pytest.raises(BusyError):
        calls.submitted.check("first", 1 << 30)
    assert (calls.jobs.refused, calls.refused) == (1, 2)


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=300))
def test_whoever_has_nothing_gets_a_place_while_there_is_one(limit: int, moves: list[tuple[int, bool]]) -> None:
    places = Places(limit, "wait")
    held: dict[int, list[ExitStack]] = {client: [] for client in range(6)}
    for client, is_coming in moves:
        own, all_held = len(held[client]), sum(map(len, held.values()))
        assert places.held == all_held <= limit
        if not is_coming:
            if own:
                held[client].pop().close()
            continue
        stack = ExitStack()
        try:
            stack.enter_context(places.taken(str(client)))
            held[client].append(stack)
            assert own <= limit - all_held
        except BusyError:
            assert own > limit - all_held or all_held == limit
    for stack in (stack for stacks in held.values() for stack in stacks):
        stack.close()
    assert places.held == 0


async def test_the_last_one_to_leave_wakes_those_who_wait_for_it() -> None:
    places = Places(1, "wait")
    await places.wait_free()
    with places.taken("a"), places.taken("b", is_bounded=False):
        waiting = asyncio.ensure_future(places.wait_free())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


def is_shutting_down(error: ConnectionFailedError) -> bool:
    return error.reason is Reason.SHUTTING_DOWN and "new connection" in error.message


async def test_closed_calls_take_what_only_reads() -> None:
    calls = Calls(2)
    calls.check("a", READ_BYTES + 1)
    calls.check_open()
    calls.close()
    calls.check("a", READ_BYTES)
    with pytest.raises(ConnectionFailedError) as large:
        calls.check("a", READ_BYTES + 1)
    with pytest.raises(ConnectionFailedError) as new:
        calls.check_open()
    with pytest.raises(ConnectionFailedError) as job, calls.job("a", 0, is_read=False):
        pytest.fail("new work is taken")
    assert all(is_shutting_down(caught.value) for caught in (large, new, job))
    before = calls.last_read
    with calls.job("a", 0, is_read=True):
        assert calls.last_read == before
        assert repr(calls) == "<Calls: 0 open, 1 run jobs, 0 wait>"
    assert calls.last_read > before


async def test_ended_calls_are_told() -> None:
    calls = Calls(1)

    async def call() -> None:
        with calls.open():
            await asyncio.get_running_loop().create_future()

    task = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    assert repr(calls) == "<Calls: 1 open, 0 run jobs, 0 wait>"
    calls.end()
    await asyncio.wait([task])
    assert task.cancelled()
    with pytest.raises(ConnectionFailedError) as caught:
        await call()
    assert is_shutting_down(caught.value)
