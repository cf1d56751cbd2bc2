"""Which ended job is forgotten next: against a list that is looked through."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from arraymill_server.jobs.ends import Ends
from arraymill_server.jobs.submitted import SubmittedJob

LIMIT, SECONDS = 6, 10.0


class Job:
    """What is asked of a job here."""

    def __init__(self, client: str, results: tuple[int, ...], since: float) -> None:
        self.submission = SimpleNamespace(client=client)
        self.results = results
        self.since = since
        """When it ended, or its results were gone."""


def real(job: Job) -> SubmittedJob:
    return cast("SubmittedJob", job)


class EndsMachine(RuleBasedStateMachine):
    """Jobs end, lose their results and are forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ends = Ends(lambda: self.now)
        self.known: list[Job] = []
        """In the order in which they ended."""
        self.spent: list[Job] = []
        """Those without results, in the order in which they had none."""

    @rule(client=st.sampled_from("aaaabcd"), has_results=st.booleans())
    def end(self, client: str, has_results: bool) -> None:
        job = Job(client, (1, 2) if has_results else (), self.now)
        self.known.append(job)
        if not has_results:
            self.spent.append(job)
        self.ends.add(real(job))

    @precondition(lambda self: any(job.results for job in self.known))
    @rule(data=st.data())
    def spend(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job for job in self.known if job.results]))
        job.results, job.since = (), self.now
        self.spent.append(job)
        self.ends.spend(real(job))

    @precondition(lambda self: bool(self.known))
    @rule(data=st.data(), times=st.integers(1, 2))
    def discard(self, data: st.DataObject, times: int) -> None:
        job = data.draw(st.sampled_from(self.known))
        self.forget(job)
        for _ in range(times):
            self.ends.discard(real(job))

    @rule(seconds=st.sampled_from([1.0, 9.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def forget_all(self) -> None:
        while (job := cast("Any", self.ends.next_to_forget(LIMIT, SECONDS))) is not None:
            self.ends.discard(job)
            self.forget(job)
        assert len(self.known) <= LIMIT
        assert all(self.now - job.since <= SECONDS for job in self.spent)

    def forget(self, job: Job) -> None:
        self.known.remove(job)
        if job in self.spent:
            self.spent.remove(job)

    @invariant()
    def the_right_one_is_next(self) -> None:
        job = cast("Any", self.ends.next_to_forget(LIMIT, SECONDS))
        if self.spent and self.now - self.spent[0].since > SECONDS:
            assert job is self.spent[0]
        elif len(self.known) <= LIMIT:
            assert job is None
        else:
            useful = [each for each in self.known if each.results]
            kind = useful if len(useful) > len(self.spent) else self.spent
            clients = [each.submission.client for each in kind]
            loser = job.submission.client
            assert clients.count(loser) == max(map(clients.count, clients))
            assert job is next(each for each in kind if each.submission.client == loser)

    @invariant()
    def nothing_is_left_of_what_was_forgotten(self) -> None:
        useful = sum(bool(job.results) for job in self.known)
        assert repr(self.ends) == f"<Ends of {len(self.known)} jobs, {useful} with results>"
        assert len(self.ends) == len(self.known)


TestEnds = EndsMachine.TestCase
TestEnds.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
