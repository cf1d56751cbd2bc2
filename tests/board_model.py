"""What always holds of a board, whatever its clients, its workers and its clock do."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest
from boards import CENTRED, HUGE, INLINE, LOST, SQRT, SUM, WIDE, Bench, Case, Feeder
from hypothesis.stateful import RuleBasedStateMachine, invariant
from onlookers import Onlooker

from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    ComputationError,
    ConnectionFailedError,
    DeadlineError,
    FrameError,
    JobCancelledError,
    JobEndedError,
    JobKeyError,
    JobNotFoundError,
    JobTakenError,
    ParameterError,
    TooLargeError,
    WorkerError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.life import Event, JobEvent, State
from arraymill_server.jobs.submitted import SubmittedJob
from arraymill_server.testing.clock import ClockedLoop

MAX_PER_CLIENT, MAX_WAITING = 2, 3

CASES = {"sum": SUM, "sqrt": SQRT, "centred": CENTRED, "wide": WIDE, "inline": INLINE, "huge": HUGE, "lost": LOST}
DIGESTS = {case.digest: case for case in CASES.values()}

REFUSALS: dict[str, type[ArraymillError]] = {"huge": TooLargeError, "lost": ArrayNotFoundError}
"""Why some are never accepted."""

FATES = (
    JobEndedError,
    JobTakenError,
    JobCancelledError,
    JobNotFoundError,
    ComputationError,
    WorkerError,
    DeadlineError,
)
"""What a client that feeds may hear of its job."""


def case_of(job: SubmittedJob) -> Case:
    return DIGESTS[job.submission.digest]


def is_free(job: SubmittedJob) -> bool:
    """Whether a job has lost the right to its key."""
    is_gone = any(array.is_deleted for array in job.results)
    return is_gone or job.state in (State.FAILED, State.CANCELLED, State.EXPIRED)


class BoardModel(RuleBasedStateMachine):
    """A board on a loop of its own; what happens to it is up to subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockedLoop()
        self.accepted: dict[str, None] = {}
        """Jobs of which somebody was told, by id."""
        self.made: dict[str, SubmittedJob] = {}
        """Every job that the journal knows."""
        self.events: dict[str, list[Event]] = {}
        self.holders: dict[str, SubmittedJob] = {}
        """The job that came last under each key."""
        self.deleted: set[str] = set()
        self.feeders: list[Feeder] = []
        self.submits: list[tuple[str, str, asyncio.Task[pb.Job]]] = []
        self.cancels: list[tuple[str, asyncio.Task[pb.Job]]] = []
        self.onlookers: list[Onlooker] = []
        self.is_closed = False
        self.bench = self.loop.run(self.make())

    async def make(self) -> Bench:
        return Bench(max_per_client=MAX_PER_CLIENT, max_waiting=MAX_WAITING, on_event=self.note)

    def live(self) -> list[SubmittedJob]:
        return [job for job in self.made.values() if not job.state.has_ended]

    def feeding(self) -> list[Feeder]:
        return [feeder for feeder in self.feeders if not feeder.task.done()]

    # ------------------------------------------------------------------ what the journal says

    def note(self, event: JobEvent) -> None:
        if event.event is Event.SUBMIT:
            self.check_key(event.job_id)
        self.events.setdefault(event.job_id, []).append(event.event)
        if event.event is Event.SUCCEED and event.state is State.SUCCEEDED:
            self.check_values(event.job_id)

    def check_key(self, id: str) -> None:
        """A key is executed anew only when it is free."""
        job = self.made[id] = self.bench.get(id)
        before = self.holders.get(job.key) if job.key else None
        assert before is None or is_free(before) or before.id in self.deleted, f"{before!r} has the key {job.key}"
        self.holders[job.key] = job

    def check_values(self, id: str) -> None:
        """Whoever sent what in which order: the results are NumPy's."""
        job = self.made[id]
        for array, value in zip(job.results, case_of(job).results, strict=True):
            np.testing.assert_allclose(self.bench.array(array.id), value, rtol=1e-12)

    # ------------------------------------------------------------------ calls

    async def submitting(self, name: str, client: str, terms: dict[str, Any]) -> pb.Job:
        """Submit; a client that has as many jobs as it may is refused, unless it joins a job, and no other is."""
        count = Counter(job.submission.client for job in self.live())[client]
        over = {id for id, job in self.made.items() if is_free(job)}
        try:
            job = await self.bench.submit(CASES[name], client, **terms)
        except BusyError as error:
            is_share = "--max-client-jobs" in error.message
            assert is_share == (count >= MAX_PER_CLIENT)
            raise
        assert count < MAX_PER_CLIENT or job.key
        assert job.id not in over
        self.accepted[job.id] = None
        return job

    async def cancelling(self, id: str) -> pb.Job:
        """Cancel; then nothing of the job is left."""
        job = await self.bench.servicer.cancel_job(pb.CancelJobRequest(id=id), None)  # type: ignore[arg-type]
        assert f"job {id}" not in {lease.owner for lease in self.bench.arena.leases}
        assert not self.made[id].results
        return job

    @invariant()
    def submissions_are_answered(self) -> None:
        for name, key, task in [entry for entry in self.submits if entry[2].done()]:
            self.submits.remove((name, key, task))
            error = task.exception()
            if error is None:
                assert name not in REFUSALS
                assert task.result().key == key
            else:
                late = ConnectionFailedError if self.is_closed else BusyError
                refusal = REFUSALS.get(name, BusyError)
                assert isinstance(error, (refusal, BusyError, ParameterError, JobKeyError, late)), error

    @invariant()
    def cancellations_are_answered(self) -> None:
        for id, task in [entry for entry in self.cancels if entry[1].done()]:
            self.cancels.remove((id, task))
            error = task.exception()
            if error is None:
                assert task.result().state == pb.JOB_CANCELLED
            else:
                assert isinstance(error, JobNotFoundError if id in self.deleted else JobEndedError), error

    @invariant()
    def feeders_hear_what_became_of_their_jobs(self) -> None:
        for feeder in self.feeders:
            kinds = feeder.kinds
            if feeder.task.done() and not feeder.task.cancelled() and feeder.error is None:
                assert kinds[-1] == "done"
                assert Event.SUCCEED in self.events[feeder.job_id]
            else:
                assert "done" not in kinds
            assert kinds[:1] in ([], ["accepted"], ["done"])
            assert kinds.count("accepted") <= 1
            assert len({want.want for want in feeder.wants}) == len(feeder.wants), "a want came twice"
            if isinstance(feeder.error, FrameError):
                assert not feeder.is_honest, feeder.error
            elif feeder.error is not None:
                assert isinstance(feeder.error, FATES), feeder.error

    @invariant()
    def who_watches_is_told_of_the_end(self) -> None:
        for onlooker in self.onlookers:
            if onlooker.task.done() and not onlooker.task.cancelled():
                onlooker.task.result()
                assert onlooker.states[-1].has_ended

    # ------------------------------------------------------------------ memory

    @invariant()
    def every_lease_has_an_owner(self) -> None:
        self.bench.arena.check()
        held = Counter(lease.owner for lease in self.bench.arena.leases if not lease.is_resident)
        assert set(held.values()) <= {1}
        live = {f"job {job.id}" for job in self.live()}
        admitted = {f"job {job.id}" for job in self.live() if Event.ADMIT in self.events[job.id]}
        assert admitted <= set(held) <= live
        assert self.bench.jobs.running == len(held)

    @invariant()
    def the_budget_is_exact(self) -> None:
        arena, residents = self.bench.arena, self.bench.residents
        held = {lease.owner for lease in arena.leases}
        claimed = 0
        for job in self.live():
            if f"job {job.id}" in held:
                claimed += sum(map(arena.aligned, case_of(job).kept))
        kept = sum(arena.aligned(array.type.nbytes) for array in residents.page()[0])
        assert residents.used_bytes == kept + claimed

    @invariant()
    def every_array_is_the_result_of_a_success(self) -> None:
        there = {array.id for array in self.bench.residents.page()[0]}
        remembered = [job for id, job in self.made.items() if id not in self.deleted]
        assert there == {array.id for job in remembered for array in job.results if not array.is_deleted}

    # ------------------------------------------------------------------ lives

    @invariant()
    def every_life_is_one(self) -> None:
        for id, job in self.made.items():
            ends = [event for event in self.events[id] if event in (Event.SUCCEED, Event.FAIL, Event.STOP)]
            assert len(ends) == job.state.has_ended
            assert (job.feed is None) == job.state.has_ended
            assert not job.results or (Event.CANCEL not in self.events[id] and job.state is State.SUCCEEDED)
            assert (job.error is None) == (job.state not in (State.FAILED, State.CANCELLED))

    @invariant()
    def pages_are_complete(self) -> None:
        known, token = list[SubmittedJob](), ""
        while True:
            page, token = self.bench.board.ledger.page(2, token)
            known += page
            if not token:
                break
        assert known == [job for id, job in self.made.items() if not job.is_refused and id not in self.deleted]
        assert not any(array.is_deleted for job in known for array in job.results), "an expiry was not seen"

    @invariant()
    def nothing_went_wrong_unseen(self) -> None:
        assert not self.loop.defects

    # ------------------------------------------------------------------ the end

    def teardown(self) -> None:
        self.is_closed = True
        self.loop.run(self.bench.close())
        for feeder in self.feeders:
            feeder.call.resume()
        self.loop.settle()
        self.feeders_hear_what_became_of_their_jobs()
        self.submissions_are_answered()
        self.cancellations_are_answered()
        assert (self.live(), self.submits, self.cancels) == ([], [], [])
        assert not asyncio.all_tasks(self.loop)
        self.who_watches_is_told_of_the_end()
        assert repr(self.bench.board.watches) == "<Watches 0 of 0 jobs, quiet>"
        with pytest.raises(ConnectionFailedError):
            self.loop.run(self.bench.submit(SUM))
        self.nothing_went_wrong_unseen()
        self.loop.close()
