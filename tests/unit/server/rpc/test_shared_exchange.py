"""A job of one message whose inputs come through shared memory, or are there, or do not come."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from patience import until

from arraymill_proto.errors import DeadlineError
from arraymill_proto.graph import ArrayType, Graph, Input
from arraymill_server.jobs.exchange import Outgoing, Started
from arraymill_server.metrics.counts import INLINE, MEMORY, Traffic
from arraymill_server.plan.model import ResultSpec, Wanted
from arraymill_server.rpc.shared_exchange import SharedExchange
from arraymill_server.rpc.shared_lane import NeedsRunError, SharedLane

BYTES = np.dtype("u1")
GRAPH = Graph((Input((8,), BYTES), Input((4,), BYTES, None, b"abcd")), (0,))
RESULT = ResultSpec(0, ArrayType((4,), BYTES), (0,), (0,), whole=True, strides=(1,))


class Lane:
    """Notes what is asked for there."""

    def __init__(self) -> None:
        self.is_open = True
        self.asked: list[tuple[int, int]] = []
        self.owner: object = None
        self.closed = 0

    def begin(self, owner: object) -> None:
        self.owner = owner

    def fill(self, want: int, wanted: Wanted, address: int) -> None:
        self.asked.append((want, address))

    def close(self) -> None:
        self.closed += 1


class Peer:
    """A job that notes what it is told."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.errors: list[BaseException] = []

    def done(self, token: int) -> None:
        self.tokens.append(token)

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)


class Case:
    """An exchange, and what is around it."""

    def __init__(self, *, is_placed: bool = False, at_hand_bytes: int = 0, stall_seconds: float = 60.0) -> None:
        self.lane, self.peer, self.traffic = Lane(), Peer(), Traffic()
        self.exchange = SharedExchange(GRAPH, cast("SharedLane", self.lane), stall_seconds, self.traffic)
        assert self.exchange.job_id == ""
        started = Started("job", 0, 1, (RESULT,), is_kept=False, is_placed=is_placed, at_hand_bytes=at_hand_bytes)
        self.exchange.start(started, self.peer)
        assert (self.lane.owner, self.exchange.job_id) == (self.exchange, "job")

    def want(self, token: int, number: int = 0, offset: int = 0, nbytes: int = 4) -> bytearray:
        place = bytearray(nbytes)
        self.exchange.want(Wanted(number, offset, nbytes, (0,)), memoryview(place), token, 1000 + offset)
        return place


async def test_what_is_wanted_is_asked_for_and_counts_when_it_is_there() -> None:
    case = Case()
    case.want(11)
    case.want(12, offset=4)
    assert (case.lane.asked, case.peer.tokens) == ([(1, 1000), (2, 1004)], [])
    case.exchange.shared_filled(2)
    assert (case.peer.tokens, case.exchange.received_bytes) == ([12], 4)
    case.exchange.shared_filled(1)
    case.exchange.shared_filled(1)  # it says so twice
    assert (case.peer.tokens, case.exchange.received_bytes) == ([12, 11], 8)
    case.exchange.close()


async def test_an_inline_input_is_there_already() -> None:
    case = Case()
    assert case.want(5, number=1, offset=1, nbytes=2) == b"bc"
    assert (case.peer.tokens, case.lane.asked) == ([5], [])
    case.exchange.close()


@pytest.mark.parametrize("is_lost", [False, True])
async def test_bytes_count_once_when_the_job_has_ended_unless_it_needs_run(is_lost: bool) -> None:
    case = Case(at_hand_bytes=2)
    case.want(1)
    case.want(2, offset=4)
    case.exchange.shared_filled(1)
    if is_lost:
        case.exchange.shared_lost([])
    case.exchange.close()
    case.exchange.close()
    assert (case.traffic.received[MEMORY], case.traffic.received[INLINE]) == ((0, 0) if is_lost else (6, 4))


async def test_what_goes_with_the_answer_counts_once() -> None:
    case = Case()
    case.exchange.send(Outgoing((0,), 0, memoryview(b"abcd")), 1)
    case.exchange.close()
    case.exchange.answer()
    case.exchange.close()
    assert (case.traffic.sent[INLINE], case.traffic.received[INLINE]) == (4, 4)


async def test_results_go_with_the_answer() -> None:
    case = Case()
    case.exchange.send(Outgoing((0,), 2, memoryview(b"cd")), 1)
    case.exchange.send(Outgoing((0,), 0, memoryview(b"ab")), 2)
    answer = case.exchange.answer()
    assert ([result.data for result in answer.results], answer.memory_outputs) == ([b"abcd"], False)
    assert (case.exchange.sent_bytes, case.peer.tokens) == (4, [1, 2])
    case.exchange.close()


async def test_results_that_are_left_in_place_are_told_and_not_sent() -> None:
    case = Case(is_placed=True, at_hand_bytes=8)
    answer = case.exchange.answer()
    assert ([result.data for result in answer.results], answer.memory_outputs) == ([b""], True)
    assert (case.exchange.sent_bytes, case.exchange.placed_bytes, case.exchange.received_bytes) == (4, 4, 8)
    assert (case.traffic.sent[MEMORY], case.traffic.received[MEMORY]) == (0, 8), "the record of the job counts them"
    case.exchange.close()


async def test_without_memory_what_is_wanted_needs_a_stream() -> None:
    case = Case()
    case.lane.is_open = False
    assert case.want(5, number=1, nbytes=4) == b"abcd", "what came inline does not"
    assert case.peer.errors == []
    case.want(6)
    assert [type(error) for error in case.peer.errors] == [NeedsRunError]
    case.exchange.close()


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_memory_that_is_lost_matters_while_something_is_wanted(is_waiting: bool) -> None:
    case = Case()
    case.want(1)
    if not is_waiting:
        case.exchange.shared_filled(1)
    case.exchange.shared_lost([])
    assert [type(error) for error in case.peer.errors] == ([NeedsRunError] if is_waiting else [])
    case.exchange.close()


async def test_a_client_that_fills_nothing_ends_its_job() -> None:
    case = Case(stall_seconds=0.01)
    case.want(1)
    await until(lambda: bool(case.peer.errors))
    assert [type(error) for error in case.peer.errors] == [DeadlineError]
    case.exchange.close()


async def test_closing_twice_is_safe_and_lets_the_lane_go() -> None:
    case = Case()
    case.want(1)
    case.exchange.close()
    case.exchange.close()
    assert case.lane.closed == 2
    assert repr(case.exchange).startswith("<SharedExchange <Wants ")
