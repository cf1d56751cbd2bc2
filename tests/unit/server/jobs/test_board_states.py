"""A state machine over the board and the handlers above it, with an engine, clients and a clock that it moves.

Everything may happen in any order, also within one turn of the event loop: submissions with and without keys, clients
that feed, repeat, misbehave, leave and are replaced, cancellation, errors of workers, silence, deadlines, results that
expire or are deleted. What holds after every step stands in `board_model`; at the end nothing is left.
"""

from __future__ import annotations

from typing import Any

from board_model import CASES, BoardModel, case_of
from boards import STALL_SECONDS, Feeder, begin
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from onlookers import Onlooker

from arraymill_proto.errors import (
    ArraymillError,
    ComputationError,
    InvalidJobError,
    JobNotFoundError,
    WorkerError,
)
from arraymill_server.jobs.life import State
from arraymill_server.jobs.submitted import SubmittedJob
from arraymill_server.jobs.watches import WATCH_SECONDS

NAMES = st.sampled_from(["sum", "sqrt", "centred", "wide", "inline"]) | st.sampled_from(sorted(CASES))

TERMS = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["", "", "one", "two"]),
        "priority": st.sampled_from([0, 5, 9]),
        "deadline_seconds": st.sampled_from([0, 0, 0, 5]),
        "ttl_seconds": st.sampled_from([0, 0, 0, 0, 20, 20, -1]),
    }
)

TURNS = st.sampled_from([0, 0, 1, 2, 3, 4, 5, 6, None, None])
"""How often the loop goes round after a step: more steps may fall into one turn. None: until nothing is left to do."""

PIECES = st.sampled_from([700, 1000, 4096])

ERRORS = st.sampled_from([None] * 8 + [ComputationError("no"), WorkerError("three deaths")])


class BoardMachine(BoardModel):
    """Clients of one board."""

    @rule(name=NAMES, client=st.sampled_from("ab"), terms=TERMS, turns=TURNS)
    def submit(self, name: str, client: str, terms: dict[str, Any], turns: int | None) -> None:
        self.submits.append((name, terms["key"], begin(self.loop, self.submitting(name, client, terms))))
        self.loop.turn(turns)

    # ------------------------------------------------------------------ feeding

    @precondition(lambda self: bool(self.accepted))
    @rule(data=st.data(), piece=PIECES, turns=TURNS)
    def attach(self, data: st.DataObject, piece: int, turns: int | None) -> None:
        self.attached(self.some_job(data), piece)
        self.loop.turn(turns)

    def attached(self, id: str, piece: int) -> Feeder:
        feeder = Feeder(self.loop, self.bench, id, case_of(self.made[id]), piece_bytes=piece)
        self.feeders.append(feeder)
        return feeder

    def asked(self) -> list[Feeder]:
        return [feeder for feeder in self.feeding() if feeder.wants]

    @precondition(lambda self: bool(self.asked()))
    @rule(data=st.data(), count=st.integers(1, 8), turns=TURNS)
    def send_some(self, data: st.DataObject, count: int, turns: int | None) -> None:
        """Some frames of some want, in any order, and perhaps not for the first time."""
        feeder = data.draw(st.sampled_from(self.asked()))
        frames = feeder.frames(data.draw(st.sampled_from(feeder.wants)))
        for frame in data.draw(st.lists(st.sampled_from(frames), max_size=count)):
            feeder.call.send(frame)
        self.loop.turn(turns)

    @precondition(lambda self: bool(self.asked()))
    @rule(data=st.data(), piece=PIECES, turns=TURNS)
    def replace(self, data: st.DataObject, piece: int, turns: int | None) -> None:
        """A client sends all it can; at the same time another one takes its place, and does the same."""
        feeder = data.draw(st.sampled_from(self.asked()))
        feeder.answer()
        newcomer = self.attached(feeder.job_id, piece)
        self.loop.turn(turns)
        newcomer.answer()
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

    # ------------------------------------------------------------------ workers and time

    @precondition(lambda self: bool(self.bench.engine.held))
    @rule(count=st.integers(1, 6), fails=ERRORS, turns=TURNS)
    def work(self, count: int, fails: ArraymillError | None, turns: int | None) -> None:
        for _ in range(count):
            if self.bench.engine.held:
                self.bench.engine.end_one(fails)
            self.loop.turn(turns)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 30.0]), turns=TURNS)
    def wait(self, seconds: float, turns: int | None) -> None:
        self.loop.advance(seconds)
        self.bench.residents.expire(self.loop.now)
        self.loop.turn(turns)

    # ------------------------------------------------------------------ what must happen

    @precondition(lambda self: any(job.state is State.RUNNING for job in self.live()))
    @rule(data=st.data(), piece=PIECES)
    def finish(self, data: st.DataObject, piece: int) -> None:
        """A job that is fed by a good client succeeds, whoever fed it before."""
        self.loop.settle()
        running = [job for job in self.live() if job.state is State.RUNNING]
        if not running:
            return
        job = data.draw(st.sampled_from(running))
        feeder = self.attached(job.id, piece)
        for _ in range(100):
            self.loop.settle()
            if job.state.has_ended:
                break
            feeder.answer()
            self.loop.settle()
            self.bench.work()
        assert job.state in (State.SUCCEEDED, State.EXPIRED) or self.is_doomed(job)

    def is_doomed(self, job: SubmittedJob) -> bool:
        """Whether an error, the clock or a cancellation had got it before: it only waited for its workers."""
        return job.error is not None and not isinstance(job.error, InvalidJobError)

    @rule()
    def fall_silent(self) -> None:
        """No client does anything, workers do what they can: then nobody waits for input or beyond his deadline."""
        for _ in range(10):
            self.loop.advance(STALL_SECONDS / 2)
            self.loop.settle()
            while self.bench.engine.held:
                self.bench.work()
                self.loop.settle()
            for job in self.live():
                left = job.submission.deadline_seconds - self.bench.board.ledger.age_seconds(job)
                assert left > 0 or not job.submission.deadline_seconds, f"{job!r} is late"
        self.bench.residents.expire(self.loop.now)
        for job in self.live():
            assert "<Wants 0 open" in repr(job.feed), f"{job!r} waits for ever"

    # ------------------------------------------------------------------ the end of jobs

    @precondition(lambda self: bool(self.accepted))
    @rule(data=st.data(), turns=TURNS)
    def cancel(self, data: st.DataObject, turns: int | None) -> None:
        id = self.some_job(data)
        self.cancels.append((id, begin(self.loop, self.cancelling(id))))
        self.loop.turn(turns)

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

    # ------------------------------------------------------------------ watching

    @precondition(lambda self: bool(self.accepted))
    @rule(data=st.data(), turns=TURNS)
    def watch(self, data: st.DataObject, turns: int | None) -> None:
        self.onlookers.append(Onlooker(self.loop, self.bench.board, self.made[self.some_job(data)]))
        self.loop.turn(turns)

    @precondition(lambda self: bool(self.onlookers))
    @rule(data=st.data(), turns=TURNS)
    def look_away(self, data: st.DataObject, turns: int | None) -> None:
        data.draw(st.sampled_from(self.onlookers)).task.cancel()
        self.loop.turn(turns)

    @precondition(lambda self: bool(self.onlookers))
    @rule()
    def see(self) -> None:
        """When nothing happens any more, all who watch have told how things are."""
        self.loop.settle()
        while not repr(self.bench.board.watches).endswith(", quiet>"):
            self.loop.advance(WATCH_SECONDS)
            self.loop.settle()
        for onlooker in self.onlookers:
            assert onlooker.task.done() or onlooker.told[-1] == onlooker.now

    def some_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.accepted)))


TestBoard = BoardMachine.TestCase
TestBoard.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
