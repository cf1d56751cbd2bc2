"""The calls of submitted jobs, and whoever feeds one."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Coroutine
from typing import Any

import grpc.aio
import numpy as np
import pytest
from boards import INLINE, SQRT, STALL_SECONDS, SUM, WIDE, Case, Stage
from plans import graph_of, operation
from structlog.testing import capture_logs

from arraymill_proto.errors import (
    DeadlineError,
    FrameError,
    InternalError,
    JobEndedError,
    JobKeyError,
    JobNotFoundError,
    JobTakenError,
    ParameterError,
)
from arraymill_proto.graph import Constant, Input
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.life import State
from arraymill_server.jobs.submitted import SubmittedJob
from arraymill_server.rpc import lanes, submitted
from arraymill_server.testing.calls import MemoryCall


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of progress after every block."""
    monkeypatch.setattr(lanes, "PROGRESS_SECONDS", 0.0)


@pytest.mark.usefixtures("talkative")
def test_who_reads_slowly_hears_of_the_end_after_all_that_came_before(stage: Stage) -> None:
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    feeder.call.pause()
    feeder.answer()
    stage.work()
    assert job.state is State.SUCCEEDED
    assert "progress" not in feeder.kinds
    feeder.call.resume()
    stage.settle()
    assert feeder.error is None
    assert feeder.kinds[-2:] == ["progress", "done"]


@pytest.mark.usefixtures("talkative")
def test_who_does_not_read_the_end_is_not_waited_for(stage: Stage) -> None:
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    feeder.call.pause()
    feeder.answer()
    stage.work()
    assert not feeder.task.done()
    stage.pass_time(STALL_SECONDS + 1)
    assert isinstance(feeder.error, DeadlineError)
    assert "does not read the end of its job" in str(feeder.error)
    assert job.state is State.SUCCEEDED


def test_who_feeds_a_job_that_fails_in_the_queue_hears_of_it(stage: Stage) -> None:
    """Its exchange was never started, and has nothing to say."""
    first, second = (stage.submit(WIDE, deadline_seconds=5.0) for _ in range(2))
    assert [first.state, second.state] == [State.RUNNING, State.QUEUED]
    feeder = stage.attach(second, WIDE)
    stage.pass_time(6.0)
    assert [first.state, second.state] == [State.FAILED] * 2
    assert isinstance(feeder.error, DeadlineError)


# ---------------------------------------------------------------------- submitting


def constant_sum(value: float | np.floating[Any]) -> Case:
    """A job with a constant, by its very bits."""
    array = np.arange(8.0)
    node = Input(array.shape, array.dtype, None, array.tobytes())
    return Case(graph_of(node, Constant(value), operation("add", 0, 1)), None, (array + value,))


def nan_of(bits: int) -> float:
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))
    assert math.isnan(value)
    return float(value)


QUIET, OTHER = nan_of(0x7FF8_0000_0000_0000), nan_of(0x7FF8_0000_0000_0001)


@pytest.mark.parametrize("scalar", [float, np.float64])
def test_a_graph_with_a_nan_joins_its_key(stage: Stage, scalar: Any) -> None:
    """NaN does not equal itself, but its bits do; a NaN of other bits is another graph."""
    job = stage.submit(constant_sum(scalar(QUIET)), key="k")
    assert stage.submit(constant_sum(scalar(QUIET)), key="k") is job
    for value in (OTHER, nan_of(0xFFF8_0000_0000_0000), 0.0):
        with pytest.raises(JobKeyError, match="computes another expression"):
            stage.submit(constant_sum(scalar(value)), key="k")
    stage.work()
    assert np.isnan(stage.bench.array(job.results[0].id)).all()


def fed(order: tuple[int, ...] | None, fingerprint: int) -> Case:
    """A job whose array is streamed, in an order that its client would like."""
    return Case(graph_of(Input((20, 30), np.dtype("f8"), order, None, fingerprint), operation("sum", 0)))


def test_a_key_is_that_of_the_data_of_its_job(stage: Stage) -> None:
    job = stage.submit(fed(None, 7), key="k")
    assert stage.submit(fed(None, 7), key="k") is job
    for fingerprint in (8, 0):
        with pytest.raises(JobKeyError, match="computes another expression"):
            stage.submit(fed(None, fingerprint), key="k")


def test_in_which_order_elements_would_come_is_no_matter_of_the_key(stage: Stage) -> None:
    """That of inline elements is: it says which element is where."""
    job = stage.submit(fed((1, 0), 7), key="k")
    assert stage.submit(fed(None, 7), key="k") is stage.submit(fed((1, 0), 7), key="k") is job
    cases = [
        Case(graph_of(Input((2, 2), np.dtype("u1"), order, b"abcd"), operation("sum", 0))) for order in (None, (1, 0))
    ]
    stage.submit(cases[0], key="inline")
    with pytest.raises(JobKeyError):
        stage.submit(cases[1], key="inline")


def test_zeros_of_two_signs_are_two_graphs(stage: Stage) -> None:
    stage.submit(constant_sum(0.0), key="k")
    with pytest.raises(JobKeyError):
        stage.submit(constant_sum(-0.0), key="k")


def test_terms_are_those_of_the_message(stage: Stage) -> None:
    jobs = stage.submit(SUM), stage.submit(SUM, priority=0, deadline_seconds=3.5)
    terms = [job.submission for job in jobs]
    assert [(each.priority, each.deadline_seconds) for each in terms] == [(5, 0.0), (0, 3.5)]
    job = stage.submit(INLINE, ttl_seconds=7.0)
    stage.work()
    assert [array.ttl for array in job.results] == [7.0]


# ---------------------------------------------------------------------- asking


def test_who_waits_is_answered_at_the_end_or_in_time(stage: Stage) -> None:
    job = stage.submit(SUM)
    requests = [pb.GetJobRequest(id=job.id, wait_seconds=seconds) for seconds in (0.0, 5.0, 60.0)]
    now, soon, late = [stage.begin(stage.bench.servicer.get_job(request, asking())) for request in requests]
    stage.settle()
    assert (now.result().state, soon.done()) == (pb.JOB_RUNNING, False)
    stage.pass_time(5.0)
    assert (soon.result().state, late.done()) == (pb.JOB_RUNNING, False)
    stage.finish(job, SUM)
    assert late.result().state == pb.JOB_SUCCEEDED
    assert stage.described(job.id, 60.0).state == pb.JOB_SUCCEEDED, "nobody waits for what has ended"


@pytest.mark.parametrize("seconds", [-1.0, 60.1, math.nan, math.inf])
def test_a_wait_has_bounds(stage: Stage, seconds: float) -> None:
    job = stage.submit(SUM)
    with pytest.raises(ParameterError, match="it must be 0 to 60; ask again for a longer wait"):
        stage.described(job.id, seconds)


def test_a_watch_tells_changes_and_ends_with_the_job(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitted, "WATCH_REPEAT_SECONDS", 6.0)
    job = stage.submit(SUM)
    told: list[pb.Job] = []

    async def follow() -> None:
        async for message in stage.bench.servicer.watch_job(pb.WatchJobRequest(id=job.id), asking()):
            told.append(message)  # noqa: PERF401  # it is looked at meanwhile

    watching = stage.begin(follow())
    for _ in range(20):
        stage.pass_time(0.25)
    assert [each.state for each in told] == [pb.JOB_RUNNING], "time alone is no change"
    stage.pass_time(2.0)
    assert [each.state for each in told] == [pb.JOB_RUNNING] * 2, "who hears nothing takes the server for lost"
    feeder = stage.attach(job, SUM)
    feeder.answer()
    stage.settle()
    stage.pass_time(0.25)
    assert told[-1].received_bytes > 0
    stage.finish(job, SUM)
    assert watching.done()
    assert [each.state for each in told].count(pb.JOB_SUCCEEDED) == 1
    assert told[-1].state == pb.JOB_SUCCEEDED


def test_a_page_ends_where_its_jobs_tell_very_much(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [stage.submit(INLINE) for _ in range(5)]
    stage.work()
    nbytes = listed(stage).jobs[0].ByteSize()
    for limit, count in ((2 * nbytes + nbytes // 2, 2), (1, 1)):
        monkeypatch.setattr(submitted, "PAGE_BYTES", limit)
        seen, token = list[str](), ""
        while True:
            page = listed(stage, token)
            assert 0 < len(page.jobs) <= count
            seen += [job.id for job in page.jobs]
            if not (token := page.next_page_token):
                break
        assert seen == [job.id for job in jobs]


def listed(stage: Stage, token: str = "") -> pb.ListJobsResponse:
    return stage.loop.run(stage.bench.servicer.list_jobs(pb.ListJobsRequest(page_token=token), asking()))


def test_a_list_tells_how_many_results_a_job_has_and_its_description_which(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitted, "SLICE", 2)
    job = stage.submit(SQRT)
    assert listed(stage).jobs[0].result_count == 0
    stage.finish(job, SQRT)
    (told,) = listed(stage).jobs
    assert (list(told.results), told.result_count) == ([], 3)
    described = stage.described(job.id)
    assert [info.id for info in described.results] == [array.id for array in job.results]
    assert described.result_count == 3


def test_the_loop_goes_on_while_much_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitted, "SLICE", 2)
    job = stage.submit(SQRT)
    stage.finish(job, SQRT)
    for _ in range(8):
        stage.submit(INLINE)
    asked = stage.bench.servicer.list_jobs(pb.ListJobsRequest(), asking())
    for work, slices in ((asked, 5), (described(stage, job), 2)):
        assert stage.loop.run(turns_of(work)) >= slices


async def turns_of(work: Coroutine[Any, Any, Any]) -> int:
    """Count the turns of the loop that something takes."""
    doing, turns = asyncio.ensure_future(work), 0
    while not doing.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


def test_who_joins_a_job_is_told_what_counts(stage: Stage) -> None:
    terms: dict[str, Any] = {"priority": 9, "deadline_seconds": 50.0, "ttl_seconds": 20.0}
    stage.submit(SUM, key="k", **terms)
    stage.pass_time(1.0)
    joined = stage.loop.run(stage.bench.submit(SUM, "b", key="k", priority=1, deadline_seconds=7, ttl_seconds=8))
    assert {name: getattr(joined, name) for name in terms} == terms
    assert joined.deadline_in_seconds == 49.0


def described(stage: Stage, job: SubmittedJob) -> Coroutine[Any, Any, pb.Job]:
    return stage.bench.servicer.get_job(pb.GetJobRequest(id=job.id), asking())


def asking() -> Any:
    return MemoryCall("asker", grpc.aio.EOF)


# ---------------------------------------------------------------------- feeding


@pytest.mark.parametrize("message", [b"\xff" * 40, b"", bytes.fromhex("12 05 08 63 22 01 00")])
def test_who_sends_what_he_must_not_loses_his_stream_and_not_the_job(stage: Stage, message: bytes) -> None:
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    feeder.call.send(message)
    stage.settle()
    assert isinstance(feeder.error, FrameError)
    assert stage.described(job.id).state == pb.JOB_RUNNING
    stage.finish(job, SUM)
    assert stage.described(job.id).state == pb.JOB_SUCCEEDED


def test_who_is_replaced_hears_of_it_and_brings_nothing(stage: Stage) -> None:
    job = stage.submit(SUM)
    first = stage.attach(job, SUM)
    first.answer()
    second = stage.attach(job, SUM, piece_bytes=700)
    stage.settle()
    assert isinstance(first.error, JobTakenError)
    assert f"another client feeds job {job.id} now" in str(first.error)
    assert not second.task.done()
    first.answer()
    stage.finish(job, SUM)
    assert job.state is State.SUCCEEDED


def test_there_is_nothing_to_feed(stage: Stage) -> None:
    job = stage.submit(INLINE)
    stage.work()
    assert isinstance(stage.attach(job, INLINE).error, JobEndedError)
    stage.bench.board.delete(job.id)
    assert isinstance(stage.attach(job, INLINE).error, JobNotFoundError)


def test_a_defect_in_the_life_of_a_job_is_told_as_an_id(stage: Stage) -> None:
    """It succeeds without ever having been admitted; the log has the story."""
    with capture_logs() as logs:
        submitting = stage.begin(stage.bench.submit(WIDE))
        job = stage.submit(WIDE)
        assert job.feed is not None
        job.feed.on_start = None
        first = stage.bench.get(submitting.result().id)
        stage.finish(first, WIDE)
        feeder = stage.finish(job, WIDE)
    assert (job.state, type(feeder.error)) == (State.FAILED, InternalError)
    (entry,) = logs
    assert "was succeeded in state QUEUED; its story:" in str(entry["exc_info"])
    assert "story" not in str(feeder.error)
    assert stage.described(job.id).error.details["error_id"] == entry["error_id"]


def test_a_queued_job_tells_what_it_waits_for(stage: Stage) -> None:
    first, second = (stage.submit(WIDE) for _ in range(2))
    told = stage.described(second.id)
    assert (told.state, told.position, told.free_bytes) == (pb.JOB_QUEUED, 0, stage.bench.arena.free)
    assert told.needed_bytes > told.free_bytes
    assert stage.described(first.id).needed_bytes == 0
    stage.cancel(first.id)
    stage.work()
    told = stage.described(second.id)
    assert (told.state, told.needed_bytes, told.free_bytes) == (pb.JOB_RUNNING, 0, 0)
