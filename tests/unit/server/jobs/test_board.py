"""The board, one story at a time: what is refused, what is joined, and what happens in one turn of the loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from boards import HUGE, INLINE, LOST, SQRT, STALL_SECONDS, SUM, TTL_SECONDS, WIDE, Case, Stage
from plans import floats, graph_of, operation

from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    ComputationError,
    ConnectionFailedError,
    DeadlineError,
    JobCancelledError,
    JobEndedError,
    ParameterError,
    Reason,
    TooLargeError,
)
from arraymill_server.jobs.life import Event, State
from arraymill_server.jobs.submitted import SubmittedJob


@contextmanager
def small_stage(**options: Any) -> Generator[Stage]:
    stage = Stage(**options)
    yield stage
    stage.close()


# ---------------------------------------------------------------------- coming


def test_a_job_from_its_submission_to_its_result(stage: Stage) -> None:
    job = stage.submit(SQRT, key="k", priority=7)
    assert repr(job) == f"<SubmittedJob {job.id}: RUNNING>"
    assert repr(stage.bench.board) == "<Board 1 live, <Ledger of 1 jobs, 0 ended and remembered>>"
    assert (job.figures.input_bytes, job.figures.blocks) == (16384, 4)
    stage.finish(job, SQRT)
    assert stage.events(job) == ["submitted", "admitted", "succeeded"]
    assert [array.type.shape for array in job.results] == [(), (2048,), ()]
    assert job.results[0] is job.results[2]
    assert (job.figures.received_bytes, job.figures.blocks_done) == (16384, 4)
    assert job.report is not None
    assert job.report.times.computed == 0.0  # the engine is a double
    assert (job.report.received_bytes, job.report.blocks, job.report.passes) == (16384, 4, 1)


BAD_TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "priority above 9": ({"priority": 10}, "the priority is 10, it must be 0 to 9"),
    "deadline already past": ({"deadline_seconds": -0.5}, r"the deadline is in -0\.5 s; give seconds above 0"),
    "no number as deadline": ({"deadline_seconds": math.nan}, "the deadline is in nan s"),
    "endless deadline": ({"deadline_seconds": math.inf}, "the deadline is in inf s"),
    "negative ttl": ({"ttl_seconds": -1.0}, "ttl_seconds is -1, not above 0"),
    "no number as ttl": ({"ttl_seconds": math.nan}, "ttl_seconds is nan"),
    "endless ttl": ({"ttl_seconds": math.inf}, "ttl_seconds is inf, not above 0 and at most 2,592,000"),
    "long key": ({"key": "k" * 129}, "the key has 129 characters, at most 128"),
    "key with a space": ({"key": "a b"}, "the key 'a b' may have visible ASCII characters only"),
    "key with a line break": ({"key": "a\n"}, "visible ASCII characters only"),
}


@pytest.mark.parametrize("name", BAD_TERMS)
def test_bad_terms_are_refused(stage: Stage, name: str) -> None:
    terms, text = BAD_TERMS[name]
    with pytest.raises(ParameterError, match=text):
        stage.submit(SUM, **terms)
    assert_nothing_is_known(stage)


REFUSED: dict[str, tuple[Case, type[ArraymillError], tuple[str, ...]]] = {
    "results above the budget": (HUGE, TooLargeError, ("needed_bytes", "budget_bytes")),
    "an array that is not there": (LOST, ArrayNotFoundError, ("array",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_job_that_can_never_run_is_refused_and_not_remembered(stage: Stage, name: str) -> None:
    case, error, details = REFUSED[name]
    with pytest.raises(error) as caught:
        stage.submit(case, key="k")
    assert set(details) <= set(caught.value.details)
    assert_nothing_is_known(stage)
    stage.finish(stage.submit(SUM, key="k"), SUM)


def test_a_job_too_large_for_the_arena_is_told_what_it_needs_and_what_there_is(stage: Stage) -> None:
    scanned = operation("cumsum", 0), floats(2, 1), operation("add", 1, 2), operation("max", 3)
    with pytest.raises(TooLargeError, match=r"the job needs .* but the server's arena has 256 KiB") as caught:
        stage.submit(Case(graph_of(floats(1 << 16), *scanned)))
    numbers = {name: int(number) for name, number in caught.value.details.items()}
    assert numbers["needed_bytes"] > numbers["available_bytes"] == numbers["arena_bytes"] == 1 << 18


def assert_nothing_is_known(stage: Stage) -> None:
    assert stage.bench.board.ledger.page() == ([], "")
    assert stage.bench.residents.used_bytes == 0
    assert repr(stage.bench.board).startswith("<Board 0 live, <Ledger of")
    assert repr(stage.bench.board).endswith("0 ended and remembered>>")


def test_too_many_jobs_of_one_client() -> None:
    with small_stage(max_per_client=2) as stage:
        mine = [stage.submit(SUM), stage.submit(SUM, key="k")]
        with pytest.raises(BusyError, match=r"has 2 submitted jobs .*--max-client-jobs 2.*again in 1 s") as caught:
            stage.submit(INLINE)
        assert caught.value.details == {"jobs": "2", "limit": "2", "retry_after": "1.0"}
        assert stage.submit(SUM, key="k") is mine[1]
        stage.submit(SUM, client="b")
        stage.finish(mine[0], SUM)
        stage.submit(SUM)


def test_results_that_find_no_room_wait_for_it(stage: Stage) -> None:
    """A job that was accepted is not lost to what others keep: it waits until that is deleted, or has expired."""
    jobs = [stage.submit(SQRT, client) for client in "abcd"]
    assert [job.state for job in jobs] == [*[State.RUNNING] * 3, State.QUEUED]
    for job in jobs[:3]:
        stage.finish(job, SQRT)
    assert [job.state for job in jobs] == [*[State.SUCCEEDED] * 3, State.QUEUED]
    beside = stage.submit(INLINE, "e")  # keeps little, and passes it
    stage.finish(beside, INLINE)
    stage.bench.board.delete(jobs[0].id)
    stage.settle()
    jobs.append(stage.submit(SQRT, "e"))
    assert [job.state for job in jobs[3:]] == [State.RUNNING, State.QUEUED]
    stage.finish(jobs[3], SQRT)
    stage.pass_time(TTL_SECONDS + 1)
    assert [job.state for job in jobs[4:]] == [State.RUNNING]
    stage.finish(jobs[4], SQRT)


def test_a_deadline_ends_the_wait_for_room(stage: Stage) -> None:
    jobs = [stage.submit(SQRT, client, deadline_seconds=5.0) for client in "abcd"]
    for job in jobs[:3]:
        stage.finish(job, SQRT)
    stage.pass_time(6.0)
    assert jobs[3].state is State.FAILED
    assert str(jobs[3].error).endswith("after 5 s, its deadline: it still waited for memory")


def test_a_client_that_keeps_its_share_waits_for_its_own_results_to_go(stage: Stage) -> None:
    """Five pages each, of sixteen: the third would leave one, and the client has ten, more than seven times as much."""
    mine = [stage.submit(SQRT) for _ in range(3)]
    assert [job.state for job in mine] == [State.RUNNING, State.RUNNING, State.QUEUED]
    for job in mine[:2]:
        stage.finish(job, SQRT)
    other = stage.submit(SQRT, "b")
    assert [mine[2].state, other.state] == [State.QUEUED, State.RUNNING]
    stage.finish(other, SQRT)
    assert mine[2].state is State.QUEUED
    stage.bench.board.delete(mine[0].id)
    stage.settle()
    stage.finish(mine[2], SQRT)
    assert [job.state for job in mine] == [State.SUCCEEDED] * 3


@pytest.mark.parametrize(("end", "looks"), [("delete", 1), ("expire", 1), ("cancel", 2)])
def test_the_queue_is_looked_along_once_for_all_results_of_a_job(stage: Stage, end: str, looks: int) -> None:
    """They may be thousands, as may those who wait; the workspace of a job that is cancelled goes first."""
    job = stage.submit(SQRT)
    heard: list[int] = []
    stage.bench.arena.on_release(lambda: heard.append(stage.bench.residents.used_bytes))
    if end == "cancel":
        stage.cancel(job.id)
        stage.settle()
    else:
        stage.finish(job, SQRT)
        heard.clear()
        if end == "delete":
            stage.bench.board.delete(job.id)
        else:
            stage.pass_time(TTL_SECONDS + 1)
    assert (len(heard), heard[-1]) == (looks, 0)


# ---------------------------------------------------------------------- the end


def test_a_job_that_is_cancelled_gives_everything_back_before_its_canceller_is_answered(stage: Stage) -> None:
    job = stage.submit(SUM)
    stage.attach(job, SUM).answer()
    stage.settle()
    assert stage.bench.engine.held
    first, second = stage.cancel(job.id), stage.cancel(job.id)
    stage.settle()
    assert job.state is State.STOPPING
    assert not first.done(), "a worker still holds a task of the job"
    assert stage.bench.arena.leases
    stage.work()
    assert first.result() == second.result()
    assert not stage.bench.arena.leases
    assert isinstance(job.failure(), JobCancelledError)
    assert stage.events(job) == ["submitted", "admitted", "cancelled", "stopped"]
    assert stage.loop.run(stage.cancel(job.id)) == first.result(), "once more does no harm"
    assert stage.events(job) == ["submitted", "admitted", "cancelled", "stopped"]


def test_a_job_that_is_cancelled_in_the_turn_in_which_it_came(stage: Stage) -> None:
    """Its task has not begun: what would be cancelled now would never run, not even its end."""
    submitting = stage.begin(stage.bench.submit(SUM))
    closing = stage.begin(stage.bench.board.close())
    stage.settle()
    job = stage.bench.get(submitting.result().id)
    assert (closing.done(), job.state) == (True, State.CANCELLED)
    assert stage.events(job) == ["submitted", "cancelled", "admitted", "stopped"]


@pytest.mark.parametrize("turns", range(12))
def test_a_job_that_is_cancelled_while_it_ends(stage: Stage, turns: int) -> None:
    """At whatever turn it comes: either it is a success and there are results, or it was cancelled and there are
    none."""
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    feeder.answer()
    stage.settle()
    while job.figures.blocks_done < 3:
        stage.bench.engine.end_one()
        stage.settle()
    stage.bench.engine.end_one()
    stage.loop.turn(turns)
    cancelling = stage.cancel(job.id)
    stage.work()
    if isinstance(cancelling.exception(), JobEndedError):
        assert (job.state, len(stage.bench.residents)) == (State.SUCCEEDED, 1)
    else:
        assert (job.state, len(stage.bench.residents)) == (State.CANCELLED, 0)
    assert stage.bench.residents.used_bytes == 4096 * len(stage.bench.residents)


def test_a_success_that_comes_too_late_leaves_nothing(stage: Stage) -> None:
    """Cancelled in the very turn in which it succeeds: its task hears of it only then."""
    job = stage.submit(SUM)
    real = stage.bench.board.ledger.note

    def note(job: SubmittedJob, event: Event, detail: str = "") -> None:
        if event is Event.SUCCEED:
            real(job, Event.CANCEL)
        real(job, event, detail)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.bench.board.ledger, "note", note)
        stage.finish(job, SUM)
    assert (job.state, len(stage.bench.residents)) == (State.CANCELLED, 0)


def test_cancelling_a_job_that_waits_lets_the_next_one_in(stage: Stage) -> None:
    jobs = [stage.submit(WIDE) for _ in range(3)]
    assert [stage.bench.board.position(job) for job in jobs] == [0, 0, 1]
    assert [job.state for job in jobs] == [State.RUNNING, State.QUEUED, State.QUEUED]
    stage.cancel(jobs[1].id)
    stage.settle()
    assert [job.state for job in jobs] == [State.RUNNING, State.CANCELLED, State.QUEUED]
    assert stage.bench.board.position(jobs[2]) == 0
    stage.finish(jobs[0], WIDE)
    assert jobs[2].state is State.RUNNING


def test_a_canceller_that_goes_away_cancels_all_the_same(stage: Stage) -> None:
    job = stage.submit(SUM)
    stage.attach(job, SUM).answer()
    stage.settle()
    cancelling = stage.cancel(job.id)
    stage.loop.turn(1)
    cancelling.cancel()
    stage.work()
    assert job.state is State.CANCELLED


def test_a_submitter_that_goes_away_leaves_its_job(stage: Stage) -> None:
    submitting = stage.begin(stage.bench.submit(SUM, key="k"))
    stage.loop.turn(1)
    submitting.cancel()
    stage.settle()
    job = stage.submit(SUM, key="k")
    assert (job.state, len(stage.bench.board.ledger.page()[0])) == (State.RUNNING, 1)


def test_a_job_that_is_late_is_stopped(stage: Stage) -> None:
    waiting = stage.submit(WIDE), stage.submit(WIDE, deadline_seconds=3)
    running = stage.submit(SUM, deadline_seconds=2)
    stage.pass_time(2)
    assert (running.state, waiting[1].state) == (State.FAILED, State.QUEUED)
    assert isinstance(running.error, DeadlineError)
    assert str(running.error) == f"job {running.id} had not ended after 2 s, its deadline"
    stage.pass_time(1)
    assert isinstance(waiting[1].error, DeadlineError)
    assert waiting[0].state is State.RUNNING


def test_what_times_out_elsewhere_is_no_deadline(stage: Stage) -> None:
    job = stage.submit(SUM)
    stage.fail(job, SUM, TimeoutError("a socket"))
    assert job.error is not None
    assert job.error.reason is Reason.INTERNAL


def test_a_stall_that_fires_while_the_job_ends_changes_nothing(stage: Stage) -> None:
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    stage.loop.advance(STALL_SECONDS)
    feeder.answer()
    cancelling = stage.cancel(job.id)
    stage.work()
    assert (job.state, cancelling.result().id) == (State.CANCELLED, job.id)
    assert stage.events(job)[-2:] == ["cancelled", "stopped"]


def test_an_error_that_is_remembered_holds_nothing(stage: Stage) -> None:
    job = stage.submit(SUM)
    stage.fail(job, SUM, ComputationError("no"))
    for error in (job.error, job.failure()):
        assert error is not None
        assert (str(error)[-2:], error.__traceback__, error.__context__, error.__cause__) == ("no", None, None, None)
    assert job.failure() is not job.failure()
    assert job.report is not None
    assert job.report.times.total > 0


def test_a_board_that_is_closed_takes_nothing_and_leaves_nothing() -> None:
    stage = Stage()
    jobs = [stage.submit(case) for case in (SUM, WIDE, WIDE)]
    stage.attach(jobs[0], SUM).answer()
    stage.settle()
    closing = stage.begin(stage.bench.board.close())
    late = stage.begin(stage.bench.submit(SUM))
    stage.settle()
    assert not closing.done(), "workers still hold tasks"
    error = late.exception()
    assert isinstance(error, ConnectionFailedError)
    assert error.reason is Reason.SHUTTING_DOWN
    stage.work()
    assert (closing.done(), {job.state for job in jobs}) == (True, {State.CANCELLED})
    stage.close()


def test_waiting_for_an_end(stage: Stage) -> None:
    job = stage.submit(SUM)
    waiting = stage.begin(stage.bench.board.wait(job, 5))
    long = stage.begin(stage.bench.board.wait(job, 60))
    stage.settle()
    stage.pass_time(5)
    assert (waiting.done(), long.done()) == (True, False)
    stage.finish(job, SUM)
    assert long.done()
    stage.loop.run(asyncio.wait_for(stage.bench.board.wait(job, 60), 1))
