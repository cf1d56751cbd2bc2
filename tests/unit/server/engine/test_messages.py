from __future__ import annotations

import socket
from contextlib import closing, suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_proto.errors import Reason
from arraymill_server.engine.messages import (
    MAX_DETAILS,
    REPLY_BYTES,
    REQUEST_BYTES,
    TEXT_BYTES,
    TRACE_BYTES,
    Hello,
    Inbox,
    MapSegment,
    MessageError,
    Reply,
    Request,
    UnmapSegment,
    decode_message,
    decode_order,
    encode,
    frame,
    head,
    tail,
)
from arraymill_server.engine.processes import connection
from arraymill_server.ops.spec import ReduceSpec, ScanSpec
from arraymill_server.plan.program import BlockTask, CarryTask, FinishTask, MergeTask, ProgramRef, Region, Task

SPEC = ReduceSpec("sum", (0,), "<f8", "<f8")
REGION = Region(4096, (3, 1), (8, 0))
TASKS: list[Task] = [
    BlockTask(ProgramRef(b"d" * 16, 64, 900), (0, 4), (3, 4), (REGION, REGION), ((REGION,), (REGION, REGION))),
    MergeTask(SPEC, (REGION,), (REGION,), (REGION,)),
    FinishTask(SPEC, 12, (REGION,), REGION),
    CarryTask(ScanSpec("cumsum", 0, "<f8", "<f8"), (REGION,), (REGION,), (REGION,)),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_requests_come_back(task: Task) -> None:
    request = Request(7, 2, task)
    assert decode_order(encode(request)) == request


def test_orders_about_segments_come_back() -> None:
    for order in (MapSegment(3, 1 << 33), UnmapSegment(3)):
        assert decode_order(encode(order)) == order


def test_messages_come_back() -> None:
    failed = Reply(3, 1, 0.5, Reason.TOO_LARGE, "too large", {"limit_bytes": "9"}, "")
    for message in (Hello(41), Reply(3, 1, 0.25), failed):
        assert decode_message(encode(message)) == message


@given(st.binary(max_size=64))
def test_garbage_raises_nothing_but_a_message_error(data: bytes) -> None:
    for decode in (decode_order, decode_message):
        with suppress(MessageError):
            decode(data)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xc1", b"\x93\x01", encode(Hello(1))[:-1], b"\x92\x00\xa1\xff"])
def test_garbage_is_refused(data: bytes) -> None:
    for decode in (decode_order, decode_message):
        with pytest.raises(MessageError, match=f"{len(data)} bytes"):
            decode(data)


def test_a_request_is_no_reply() -> None:
    with pytest.raises(MessageError):
        decode_message(encode(Request(1, 1, TASKS[0])))
    with pytest.raises(MessageError):
        decode_order(encode(Reply(1, 1, 0.0)))


def test_the_longest_reply_fits() -> None:
    text = "é" * (TEXT_BYTES // 2)
    details = {f"{number}{text}"[: TEXT_BYTES // 2]: text for number in range(MAX_DETAILS)}
    assert len(encode(Reply(2**63, 2**31, 1.0, Reason.RESULT_TOO_LARGE, text, details))) <= REPLY_BYTES
    assert len(encode(Reply(2**63, 2**31, 1.0, Reason.INTERNAL, "", {}, "x" * TRACE_BYTES))) <= REPLY_BYTES


def test_the_largest_graph_fits_a_request() -> None:
    region = Region(1 << 40, (1 << 20,) * 8, (1 << 30,) * 8)
    task = BlockTask(ProgramRef(b"d" * 16, 64, 900), (0,) * 8, (1 << 20,) * 8, (region,) * 4096, ())
    assert len(encode(Request(1, 1, task))) <= REQUEST_BYTES


@given(st.text(max_size=40), st.integers(1, 40))
def test_texts_are_cut_at_characters(text: str, limit: int) -> None:
    assert text.encode(errors="replace").decode().startswith(head(text, limit))
    assert text.encode(errors="replace").decode().endswith(tail(text, limit))
    assert len(head(text, limit).encode()) <= limit
    assert len(tail(text, limit).encode()) <= limit


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(0, 500), max_size=8), st.integers(0, 60))
def test_an_inbox_gives_whole_payloads_however_they_arrive(payloads: list[bytes], cuts: list[int], lost: int) -> None:
    stream = b"".join(map(frame, payloads))
    stream = stream[: len(stream) - min(lost, len(stream))]
    inbox = Inbox()
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    got = [payload for start, end in pairwise(places) for payload in inbox.feed(stream[start:end])]
    assert got == payloads[: len(got)]
    assert sum(len(frame(payload)) for payload in got) + inbox.pending_bytes == len(stream)
    if not lost:
        assert got == payloads


@pytest.mark.parametrize("length", [-1, -(2**31), 11, 2**31 - 1])
def test_an_inbox_refuses_lengths_out_of_bounds(length: int) -> None:
    with pytest.raises(MessageError, match=f"claims {length} bytes; the limit is 10"):
        Inbox(10).feed(length.to_bytes(4, "big", signed=True))


def test_frames_are_what_a_connection_reads_and_writes() -> None:
    ours, theirs = socket.socketpair()
    pipe = connection(theirs.detach())
    with ours, closing(pipe):
        pipe.send_bytes(b"payload")
        assert ours.recv(100) == frame(b"payload")
        ours.sendall(frame(b"answer"))
        assert pipe.recv_bytes(100) == b"answer"
