"""A state machine over the board and the handlers above it, with an engine, clients and a clock that it moves.

Everything may happen in any order, also within one turn of the event loop: submissions with and without keys, clients
that feed, repeat, misbehave, leave and are replaced, cancellation, errors of workers, silence, deadlines, results that
expire or are deleted. What holds after every step stands in the invariants; at the end nothing is left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from boards import CENTRED, HUGE, INLINE, LOST, SQRT, STALL_SECONDS, SUM, WIDE, Bench, Case, Feeder
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    ComputationError,
    ConnectionFailedError,
    DeadlineError,
    FrameError,
    InvalidJobError,
    JobCancelledError,
    JobEndedError,
    JobKeyError,
    JobNotFoundError,
    ParameterError,
    TooLargeError,
    WorkerError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.life import Event, JobEvent, State
from arraymill_server.jobs.submitted import SubmittedJob
from arraymill_server.testing.clock import ClockedLoop

MAX_PER_CLIENT, MAX_WAITING = 3, 3

CASES = {"sum": SUM, "sqrt": SQRT, "centred": CENTRED, "wide": WIDE, "inline": INLINE, "huge": HUGE, "lost": LOST}
DIGESTS = {case.digest: case for case in CASES.values()}

NAMES = st.sampled_from(["sum", "sqrt", "centred", "wide", "inline"]) | st.sampled_from(sorted(CASES))

REFUSALS: dict[str, type[ArraymillError]] = {"huge": TooLargeError, "lost": ArrayNotFoundError}
"""Why some are never accepted."""

ENDS = (JobEndedError, JobCancelledError, JobNotFoundError, ComputationError, WorkerError, DeadlineError)
"""What a client that feeds may hear of its job."""

TERMS = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["", "", "one", "two"]),
        "priority": st.sampled_from([0, 5, 9]),
        "deadline_seconds": st.sampled_from([0, 0, 0, 5]),
        "ttl_seconds": st.sampled_from([0, 0, 0, 0, 20, 20, -1]),
    }
)

TURNS = st.sampled_from([0, 1, 2, None])
"""How often the loop goes round after a step: more steps may fall into one turn. None: until nothing is left to do."""


def case_of(job: SubmittedJob) -> Case:
    return DIGESTS[job.submission.digest]


class BoardMachine(RuleBasedStateMachine):
    """Clients of one board."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockedLoop()
        self.accepted: dict[str, None] = {}
        """Jobs of which somebody was told."""
        self.holders: dict[str, SubmittedJob] = {}
        """The job that came last under each key."""
        self.made: dict[str, SubmittedJob] = {}
        """Every job that the journal knows."""
        self.events: dict[str, list[Event]] = {}
        self.deleted: set[str] = set()
        self.feeders: list[Feeder] = []
        self.submits: list[tuple[str, str, asyncio.Task[pb.Job]]] = []
        self.cancels: list[tuple[str, asyncio.Task[pb.Job]]] = []
        self.late: tuple[type[ArraymillError], ...] = ()
        """What may happen to submissions when the board is closed."""
        self.bench = self.loop.run(self.make())

    async def make(self) -> Bench:
        return Bench(max_per_client=MAX_PER_CLIENT, max_waiting=MAX_WAITING, on_event=self.note)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.loop.create_task(work)

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
        if before is not None:
            is_free = before.state in (State.FAILED, State.CANCELLED, State.EXPIRED) or before.id in self.deleted
            assert is_free, f"{before!r} has the key {job.key}"
        self.holders[job.key] = job

    def check_values(self, id: str) -> None:
        """Whoever sent what in which order: the results are NumPy's."""
        job = self.made[id]
        for array, value in zip(job.results, case_of(job).results, strict=True):
            np.testing.assert_allclose(self.bench.array(array.id), value, rtol=1e-12)

    # ------------------------------------------------------------------ submitting

    @rule(name=NAMES, client=st.sampled_from("ab"), terms=TERMS, turns=TURNS)
    def submit(self, name: str, client: str, terms: dict[str, Any], turns: int | None) -> None:
        self.submits.append((name, terms["key"], self.begin(self.submitting(name, client, terms))))
        self.loop.turn(turns)

    async def submitting(self, name: str, client: str, terms: dict[str, Any]) -> pb.Job:
        """Submit; a client that has as many jobs as it may is refused, unless it joins a job, and no other is."""
        count = Counter(job.submission.client for job in self.live())[client]
        try:
            job = await self.bench.submit(CASES[name], client, **terms)
        except BusyError as error:
            is_share = "limit" in error.details
            assert is_share == (count >= MAX_PER_CLIENT)
            raise
        self.accepted[job.id] = None
        assert count < MAX_PER_CLIENT or job.key
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
                refusal = REFUSALS.get(name, BusyError)
                assert isinstance(error, (refusal, BusyError, ParameterError, JobKeyError, *self.late)), error

    # ------------------------------------------------------------------ feeding

    @precondition(lambda self: bool(self.accepted))
    @rule(data=st.data(), piece=st.sampled_from([700, 1000, 4096]), turns=TURNS)
    def attach(self, data: st.DataObject, piece: int, turns: int | None) -> None:
        id = self.some_job(data)
        self.loop.run(self.attaching(id, piece))
        self.loop.turn(turns)

    async def attaching(self, id: str, piece: int) -> None:
        self.feeders.append(Feeder(self.bench, id, case_of(self.made[id]), piece_bytes=piece))

    def feeding(self) -> list[Feeder]:
        return [feeder for feeder in self.feeders if not feeder.task.done()]

    @precondition(lambda self: any(feeder.wants for feeder in self.feeding()))
    @rule(data=st.data(), count=st.integers(1, 8), turns=TURNS)
    def send_some(self, data: st.DataObject, count: int, turns: int | None) -> None:
        """Some frames of some want, in any order, and perhaps not for the first time."""
        feeder = data.draw(st.sampled_from([feeder for feeder in self.feeding() if feeder.wants]))
        frames = feeder.frames(data.draw(st.sampled_from(feeder.wants)))
        for frame in data.draw(st.lists(st.sampled_from(frames), max_size=count)):
            feeder.call.send(frame)
        self.loop.turn(turns)

    @precondition(lambda self: any(feeder.wants for feeder in self.feeding()))
    @rule(data=st.data(), turns=TURNS)
    def send_all(self, data: st.DataObject, turns: int | None) -> None:
        data.draw(st.sampled_from([feeder for feeder in self.feeding() if feeder.wants])).answer()
        self.loop.turn(turns)

    @precondition(lambda self: bool(self.feeding()))
    @rule(data=st.data(), how=st.sampled_from(["leave", "end", "pause", "garbage", "unasked"]), turns=TURNS)
    def misbehave(self, data: st.DataObject, how: str, turns: int | None) -> None:
        feeder = data.draw(st.sampled_from(self.feeding()))
        match how:
            case "leave":
                feeder.leave()
            case "end":
                feeder.call.end()
            case "pause":
                feeder.call.pause()
            case _:
                feeder.is_honest = False
                feeder.call.send(b"\xff" if how == "garbage" else bytes.fromhex("12 05 08 63 22 01 00"))
        self.loop.turn(turns)

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
                assert isinstance(feeder.error, ENDS), feeder.error

    # ------------------------------------------------------------------ workers and time

    @precondition(lambda self: bool(self.bench.engine.held))
    @rule(
        count=st.integers(1, 6),
        fails=st.sampled_from([None] * 6 + [ComputationError("no"), WorkerError("3 deaths")]),
        turns=TURNS,
    )
    def work(self, count: int, fails: ArraymillError | None, turns: int | None) -> None:
        for _ in range(count):
            if self.bench.engine.held:
                self.bench.engine.end_one(fails)
            self.loop.turn(turns)

    @rule(rounds=st.integers(1, 6))
    def go_on(self, rounds: int) -> None:
        """All who feed do what they are asked, and so do the workers."""
        for _ in range(rounds):
            for feeder in self.feeding():
                feeder.answer()
            self.loop.settle()
            self.bench.work()
            self.loop.settle()

    @rule(seconds=st.sampled_from([0.5, 1.0, 1.0, 5.0, STALL_SECONDS, 30.0]), turns=TURNS)
    def wait(self, seconds: float, turns: int | None) -> None:
        self.loop.advance(seconds)
        self.loop.turn(turns)
        self.bench.residents.expire(self.loop.now)

    # ------------------------------------------------------------------ the end of jobs

    @precondition(lambda self: bool(self.accepted))
    @rule(data=st.data(), turns=TURNS)
    def cancel(self, data: st.DataObject, turns: int | None) -> None:
        id = self.some_job(data)
        self.cancels.append((id, self.begin(self.cancelling(id))))
        self.loop.turn(turns)

    async def cancelling(self, id: str) -> pb.Job:
        job = await self.bench.servicer.cancel_job(pb.CancelJobRequest(id=id), None)  # type: ignore[arg-type]
        self.memory_is_free(id)
        return job

    def memory_is_free(self, id: str) -> None:
        assert f"job {id}" not in {lease.owner for lease in self.bench.arena.leases}
        assert not self.made[id].results

    @invariant()
    def cancellations_are_answered(self) -> None:
        for id, task in [entry for entry in self.cancels if entry[1].done()]:
            self.cancels.remove((id, task))
            error = task.exception()
            if error is None:
                assert task.result().state == pb.JOB_CANCELLED
            else:
                assert isinstance(error, JobNotFoundError if id in self.deleted else JobEndedError), error

    @precondition(lambda self: bool(self.accepted))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        id = self.some_job(data)
        try:
            self.bench.board.delete(id)
            assert self.made[id].state.has_ended
            self.deleted.add(id)
        except JobNotFoundError:
            assert id in self.deleted
        except InvalidJobError:
            assert not self.made[id].state.has_ended

    @precondition(lambda self: len(self.bench.residents) > 0)
    @rule(data=st.data())
    def delete_result(self, data: st.DataObject) -> None:
        arrays, _ = self.bench.residents.page()
        self.bench.residents.delete(data.draw(st.sampled_from(arrays)).id)

    def some_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.accepted)))

    # ------------------------------------------------------------------ what always holds

    def live(self) -> list[SubmittedJob]:
        return [job for job in self.made.values() if not job.state.has_ended]

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
            if f"job {job.id}" in held or self.bench.admission.position_of(f"job {job.id}") is not None:
                claimed += sum(map(arena.aligned, case_of(job).kept))
        kept = sum(arena.aligned(array.type.nbytes) for array in residents.page()[0])
        assert residents.used_bytes == kept + claimed

    @invariant()
    def every_array_is_the_result_of_a_success(self) -> None:
        there = {array.id for array in self.bench.residents.page()[0]}
        results = {
            array.id
            for job in self.made.values()
            if job.id not in self.deleted
            for array in job.results
            if not array.is_deleted
        }
        assert there == results

    @invariant()
    def every_life_is_one(self) -> None:
        for id, job in self.made.items():
            ends = [event for event in self.events[id] if event in (Event.SUCCEED, Event.FAIL, Event.STOP)]
            assert len(ends) == job.state.has_ended == job.over.is_set()
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
        remembered = [job for id, job in self.made.items() if not job.is_refused and id not in self.deleted]
        assert known == remembered

    @invariant()
    def nothing_went_wrong_unseen(self) -> None:
        assert not self.loop.defects

    # ------------------------------------------------------------------ the end

    def teardown(self) -> None:
        self.late = (ConnectionFailedError,)
        self.loop.run(self.bench.close())
        self.loop.settle()
        for feeder in self.feeders:
            feeder.call.resume()
        self.loop.settle()
        self.feeders_hear_what_became_of_their_jobs()
        self.submissions_are_answered()
        self.cancellations_are_answered()
        assert not self.live()
        assert not asyncio.all_tasks(self.loop)
        with pytest.raises(ConnectionFailedError):
            self.loop.run(self.bench.submit(SUM))
        self.nothing_went_wrong_unseen()
        self.loop.close()


TestBoard = BoardMachine.TestCase
TestBoard.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
