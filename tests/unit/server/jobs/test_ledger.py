"""What is known of submitted jobs: by id, in pages, and for how long."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from boards import INLINE, SQRT, SUM, Case, Stage
from plans import graph_of, operation

from arraymill_proto.errors import ComputationError, InvalidJobError, JobKeyError, JobNotFoundError, ParameterError
from arraymill_proto.graph import Input
from arraymill_server.jobs import ledger
from arraymill_server.jobs.life import State
from arraymill_server.jobs.submitted import SubmittedJob


def test_unknown_jobs(stage: Stage) -> None:
    job = stage.submit(INLINE)
    stage.work()
    stage.bench.board.delete(job.id)
    for id in (job.id, "", "nobody", "x" * 1000):
        with pytest.raises(JobNotFoundError, match="never submitted to this server, deleted, or") as caught:
            stage.bench.get(id)
        assert len(str(caught.value)) < 300
        with pytest.raises(JobNotFoundError):
            stage.bench.board.delete(id)
        with pytest.raises(JobNotFoundError):
            stage.loop.run(stage.bench.board.cancel(id))


def test_a_job_is_deleted_with_its_results_when_it_has_ended(stage: Stage) -> None:
    job = stage.submit(SUM)
    with pytest.raises(InvalidJobError, match=rf"job {job.id} is running; cancel it first"):
        stage.bench.board.delete(job.id)
    stage.finish(job, SUM)
    stage.bench.board.delete(job.id)
    assert (len(stage.bench.residents), stage.bench.residents.used_bytes) == (0, 0)


def test_results_are_used_up_together(stage: Stage) -> None:
    job = stage.submit(SQRT)
    stage.finish(job, SQRT)
    stage.bench.residents.delete(job.results[0].id)
    assert stage.bench.get(job.id).state is State.EXPIRED
    assert (job.results, len(stage.bench.residents)) == ((), 0)
    assert stage.events(job)[-1] == "expired"


def test_the_oldest_ends_are_forgotten_with_their_results(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_ENDED", 2)
    jobs = [stage.submit(INLINE, key=f"{number}") for number in range(4)]
    stage.work()
    left = [job.results[0].id for job in jobs]
    running = stage.submit(SUM)
    assert stage.bench.board.ledger.page()[0] == [*jobs[2:], running]
    assert [array.id for array in stage.bench.residents.page()[0]] == left[2:]
    assert stage.submit(INLINE, key="0") not in jobs
    assert stage.submit(INLINE, key="3") is jobs[3]


def test_a_client_pushes_out_its_own_jobs_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_ENDED", 5)
    jobs = [stage.submit(INLINE, "modest", key="nightly"), stage.submit(INLINE, "modest")]
    stage.work()
    for _ in range(20):
        stage.submit(INLINE, "noisy")
        stage.work()
    assert stage.submit(INLINE, "other", key="nightly") is jobs[0]
    assert stage.bench.board.ledger.page()[0][:2] == jobs
    assert len(stage.bench.residents) == 6, "one more than the limit, until the next job comes"


def test_jobs_with_results_and_others_leave_each_other_room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_ENDED", 4)
    good = [stage.submit(INLINE) for _ in range(2)]
    stage.work()
    bad: list[SubmittedJob] = []
    for client in "abcdef":
        bad.append(stage.submit(INLINE, client))
        end_badly(stage, bad[-1])
    stage.submit(SUM, "other")
    assert stage.bench.board.ledger.page()[0][:-1] == [*good, *bad[-2:]]
    for client in "ghijkl":
        stage.submit(INLINE, client)
        stage.work()
    known = stage.bench.board.ledger.page()[0]
    assert [job for job in known if job.state is State.FAILED] == bad[-2:]


def test_what_has_results_is_remembered_as_long_as_they_are_there(stage: Stage) -> None:
    day = ledger.ENDED_SECONDS
    kept, expired = stage.submit(INLINE, ttl_seconds=3 * day), stage.submit(INLINE)
    stage.work()
    for seconds, known in ((200, [kept, expired]), (day + 1, [kept]), (2 * day, [kept]), (day + 1, [])):
        stage.pass_time(seconds)
        last = stage.submit(SUM)
        assert stage.bench.board.ledger.page()[0] == [*known, last]
        stage.cancel(last.id)
        stage.work()
        stage.bench.board.delete(last.id)


def test_pages(stage: Stage) -> None:
    jobs = [stage.submit(INLINE) for _ in range(7)]
    stage.work()
    first, token = stage.bench.board.ledger.page(3)
    stage.bench.board.delete(jobs[2].id)  # the last of the page: what follows it is not lost
    later = stage.submit(INLINE)
    second, token = stage.bench.board.ledger.page(3, token)
    third, end = stage.bench.board.ledger.page(3, token)
    assert [first, second, third, end] == [jobs[:3], jobs[3:6], [jobs[6], later], ""]
    assert len(stage.bench.board.ledger.page(10**9)[0]) == 7
    for bad in ("x", "-1", "1" * 17, "١"):
        with pytest.raises(ParameterError, match="is none that this server gave"):
            stage.bench.board.ledger.page(3, bad)


BIG = np.zeros(20_000, np.uint8)
INLINE_BIG = Case(
    graph_of(Input(BIG.shape, BIG.dtype, None, BIG.tobytes()), operation("max", 0)), None, (np.zeros((), np.uint8),)
)


def end_well(stage: Stage, job: SubmittedJob) -> None:
    stage.work()


def end_badly(stage: Stage, job: SubmittedJob) -> None:
    stage.bench.engine.end_one(ComputationError("no"))
    stage.work()


def end_early(stage: Stage, job: SubmittedJob) -> None:
    stage.cancel(job.id)
    stage.work()


def end_late(stage: Stage, job: SubmittedJob) -> None:
    stage.pass_time(1.0)
    stage.work()


@pytest.mark.parametrize("end", [end_well, end_badly, end_early, end_late])
def test_what_has_ended_is_remembered_without_its_graph_and_all_that_ran_it(
    stage: Stage, end: Callable[[Stage, SubmittedJob], None]
) -> None:
    def run(count: int) -> None:
        for number in range(count):
            job = stage.submit(INLINE_BIG, f"client {number}", key=f"{count}-{number}", deadline_seconds=1.0)
            end(stage, job)
            assert job.state.has_ended
        gc.collect()

    run(1)
    tracemalloc.start()
    try:
        run(10)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / 10 < 5_000


def test_results_that_are_gone_are_noticed_at_once_and_take_the_others_along(stage: Stage) -> None:
    job = stage.submit(SQRT)
    stage.finish(job, SQRT)
    stage.bench.residents.delete(job.results[1].id)
    assert (job.state, job.results) == (State.EXPIRED, ())
    assert job.report is not None
    assert job.report.arrays == ()
    assert (len(stage.bench.residents), stage.bench.arena.resident) == (0, 0)
    assert stage.events(job)[-1] == "expired"


@pytest.mark.parametrize("client", ["a", "b"])
def test_the_error_of_a_key_names_its_job_to_everyone(stage: Stage, client: str) -> None:
    job = stage.submit(SUM, client="a", key="k")
    with pytest.raises(JobKeyError, match=f"is that of job {job.id}, which computes another") as caught:
        stage.submit(SQRT, client=client, key="k")
    assert caught.value.details == {"key": "k", "job": job.id}


def test_those_that_have_not_ended_are_listed_alone(stage: Stage) -> None:
    """However many have ended: nobody looks through them."""
    page = stage.bench.board.ledger.page
    ended = [stage.submit(INLINE) for _ in range(3)]
    stage.work()
    running = [stage.submit(SUM) for _ in range(3)]
    assert page(is_open_only=True) == (running, "")
    first, token = page(2, is_open_only=True)
    assert (first, page(2, token, is_open_only=True)) == (running[:2], (running[2:], ""))
    assert page()[0] == [*ended, *running]
    stage.finish(running[0], SUM)
    stage.bench.board.delete(running[0].id)
    assert page(is_open_only=True)[0] == running[1:]
