"""Submitting: what travels, what is refused before it does, and one job however often it is submitted."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from strategies import Array, arrays
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncClient, JobState, asarray
from arraymill._submit import PIECE_BYTES, fingerprint_of
from arraymill_proto.errors import (
    BusyError,
    ConnectionFailedError,
    DeadlineError,
    IncompatibleServerError,
    JobKeyError,
    ParameterError,
    ShapeError,
)
from arraymill_proto.fingerprints import Fingerprint
from arraymill_proto.limits import MAX_KEY_CHARS

X = np.arange(1000.0).reshape(10, 100)


async def test_small_inputs_go_with_the_submission(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum(), key="nightly-7")
    assert (job.id, job.key) == ("job0", "nightly-7")
    assert await job.result() == X.sum()
    await job.uploaded()
    assert jobs.job.feeds == 0
    assert jobs.job.request.graph.nodes[0].input.inline == X.tobytes()


async def test_large_inputs_follow(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.info.unary_bytes = X.nbytes - 1
    job = await worker.submit(asarray(X).sum())
    await job.uploaded()
    assert not jobs.job.request.graph.nodes[0].input.HasField("inline")
    assert await job.result() == X.sum()
    assert jobs.job.feeds == 1


async def test_a_job_keeps_the_priority_that_it_was_submitted_with_first(
    jobs: FakeJobServer, worker: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.is_held = True
    await worker.submit(X, key="nightly", priority=2)
    await worker.submit(X, key="nightly", priority=2)
    await worker.submit(X, key="nightly")
    assert not caplog.messages
    await worker.submit(X, key="nightly", priority=9)
    (told,) = caplog.messages
    assert "job job0 of key 'nightly' keeps priority 2, with which it was submitted first, not 9" in told
    jobs.execute(jobs.job)
    await worker.submit(X, key="nightly", priority=9)
    assert len(caplog.messages) == 1, "the priority of a job that has ended does not matter"


async def test_what_is_said_about_a_job(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.is_held = True
    job = await worker.submit(X, key="k" * MAX_KEY_CHARS, priority=0, deadline=60, ttl=5)
    request = jobs.job.request
    assert (request.key, request.priority, request.deadline_seconds, request.ttl_seconds) == (job.key, 0, 60, 5)
    assert request.HasField("priority")
    await worker.submit(asarray(X) + 1, deadline=float("inf"))
    assert not jobs.jobs["job1"].request.HasField("priority")
    assert jobs.jobs["job1"].request.deadline_seconds == 0


async def test_a_job_without_a_key_gets_one_of_its_own(jobs: FakeJobServer, worker: AsyncClient) -> None:
    first, second = await worker.submit(X), await worker.submit(X)
    assert first.key != second.key
    assert len(jobs.jobs) == 2


async def test_the_same_key_is_the_same_job(jobs: FakeJobServer, worker: AsyncClient) -> None:
    first = await worker.submit(asarray(X).sum(), key="a")
    second = await worker.submit(asarray(X.copy()).sum(), key="a")
    assert (first.id, await first.result()) == (second.id, await second.result())
    assert jobs.job.executed == 1
    with pytest.raises(JobKeyError, match="the key 'a'"):
        await worker.submit(asarray(X).max(), key="a")


LAYOUTS: dict[str, NDArray[Any]] = {
    "C": X,
    "Fortran": np.asfortranarray(X),
    "strided": np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
}

is_fed_or_inline = pytest.mark.parametrize("unary_bytes", [0, 1 << 20], ids=["fed", "inline"])


@is_fed_or_inline
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_the_same_data_is_the_same_job_however_it_lies_in_memory(
    jobs: FakeJobServer, worker: AsyncClient, unary_bytes: int, layout: str
) -> None:
    jobs.info.unary_bytes = unary_bytes
    first = await worker.submit(asarray(LAYOUTS["Fortran"]).sum(), key="a")
    async with AsyncClient(jobs.address) as other:
        second = await other.submit(asarray(LAYOUTS[layout]).sum(), key="a")
        assert (first.id, await first.result()) == (second.id, await second.result())
    assert jobs.job.executed == 1


def swapped() -> NDArray[Any]:
    x = X.copy()
    x[0, 0], x[9, 99] = X[9, 99], X[0, 0]
    return x


@is_fed_or_inline
@pytest.mark.parametrize("other", [X + 1, swapped(), X[::-1], X.T.reshape(X.shape)], ids=str)
async def test_other_data_under_the_same_key_is_refused(
    jobs: FakeJobServer, worker: AsyncClient, unary_bytes: int, other: NDArray[Any]
) -> None:
    """Of the same shape and dtype: the graph alone would not tell it."""
    jobs.info.unary_bytes = unary_bytes
    job = await worker.submit(asarray(X).sum(axis=0), key="a")
    async with AsyncClient(jobs.address) as second:
        with pytest.raises(JobKeyError):
            await second.submit(asarray(other).sum(axis=0), key="a")
    assert np.array_equal(await job.result(), X.sum(axis=0))


async def test_only_who_chooses_a_key_pays_for_a_fingerprint(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.info.unary_bytes = 0
    for key in (None, "a"):
        await worker.submit(asarray(X) * X[0], key=key)
    own, chosen = (
        [node.input.fingerprint for node in job.request.graph.nodes if node.HasField("input")]
        for job in jobs.jobs.values()
    )
    assert own == [0, 0]
    assert all(chosen)
    assert chosen[0] != chosen[1]
    first = jobs.jobs["job0"].request.key
    assert (await worker.submit(asarray(X) * X[0], key=first)).id == "job0", "a job may be asked for by its own key"


@given(arrays())
def test_a_fingerprint_is_that_of_the_elements_in_c_order(array: Array) -> None:
    """Of every dtype and layout, in pieces of a few blocks."""
    expected = Fingerprint(array.nbytes)
    expected.add(array.tobytes())
    assert asyncio.run(fingerprint_of(array)) == expected.value()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_fingerprint_of_many_pieces(order: Literal["C", "F"]) -> None:
    array = np.array(np.random.default_rng(3).random((700, 611)), order=order)
    assert array.nbytes > 3 * PIECE_BYTES
    expected = Fingerprint(array.nbytes)
    expected.add(array.tobytes())
    assert asyncio.run(fingerprint_of(array)) == expected.value()


BAD_TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"key": 7}, "the key is 7, it must be a text"),
    "empty": ({"key": ""}, "the key is empty, it must have a character"),
    "long": ({"key": "k" * 129}, "the key has 129 characters"),
    "space": ({"key": "a b"}, "visible ASCII"),
    "surrogate": ({"key": "\ud800"}, "visible ASCII"),
    "negative priority": ({"priority": -1}, "the priority is -1, it must be 0 to 9"),
    "high priority": ({"priority": 10}, "the priority is 10"),
    "half a priority": ({"priority": 2.5}, "the priority is 2.5"),
    "past": ({"deadline": 0}, "deadline is 0, it must be more than 0 seconds"),
    "long past": ({"deadline": -3.5}, "deadline is -3.5"),
    "no number": ({"deadline": float("nan")}, "deadline is nan"),
    "no time to live": ({"ttl": 0}, "ttl is 0"),
    "no time": ({"timeout": 0}, "timeout is 0"),
}


@pytest.mark.parametrize("name", BAD_TERMS)
async def test_bad_terms_never_travel(jobs: FakeJobServer, worker: AsyncClient, name: str) -> None:
    terms, text = BAD_TERMS[name]
    with pytest.raises(ParameterError, match=text):
        await worker.submit(X, **terms)
    assert not jobs.calls


async def test_bad_expressions_never_travel(jobs: FakeJobServer, worker: AsyncClient) -> None:
    with pytest.raises(ParameterError, match="submit needs at least one expression"):
        await worker.submit()
    with pytest.raises(ShapeError):
        await worker.submit(asarray(X) + np.zeros(7))
    assert not jobs.calls


@pytest.mark.usefixtures("no_pauses")
async def test_a_submission_whose_answer_is_lost_is_executed_once(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.lost["SubmitJob"] = 2
    job = await worker.submit(asarray(X).sum())
    assert await job.result() == X.sum()
    assert jobs.calls["SubmitJob"] == 3
    assert jobs.job.executed == 1


@pytest.mark.usefixtures("no_pauses")
async def test_a_busy_server_is_asked_again(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.refusals["SubmitJob"] = [BusyError("full", retry_after=0.005)] * 3
    assert (await worker.submit(X)).id == "job0"
    assert jobs.calls["SubmitJob"] == 4


async def test_a_busy_server_that_says_later_than_the_call_may_take(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.refusals["SubmitJob"] = [BusyError("full", retry_after=20)]
    with pytest.raises(BusyError, match="full"):
        await worker.submit(X, timeout=10)


async def test_an_older_server_that_knows_no_jobs(jobs: FakeJobServer) -> None:
    known = {name: handler for name, handler in jobs.handlers().items() if name != "SubmitJob"}
    await jobs.stop()
    jobs.handlers = lambda: known  # type: ignore[method-assign]
    await jobs.start()
    async with AsyncClient(jobs.address) as mill:
        with pytest.raises(IncompatibleServerError) as caught:
            await mill.submit(X)
    assert "is arraymill 9.9, which has no SubmitJob; this is arraymill" in str(caught.value)
    assert "upgrade the server" in str(caught.value)


async def test_states_and_fields_of_later_versions_are_ignored(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(X)
    unknown = b"\xf2\x3e\x03new\xd0\x0f\x07"  # field 1006, text; field 250, number
    jobs.raw["GetJob"] = jobs.job.message.SerializeToString() + unknown
    assert (await job.status()).state is JobState.SUCCEEDED
    jobs.job.message.state = 77  # type: ignore[assignment]
    jobs.raw["GetJob"] = jobs.job.message.SerializeToString()
    assert (await job.status()).state is JobState.UNKNOWN


async def test_uploads_wait_for_their_turn_apart_from_jobs(
    jobs: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.info.unary_bytes, jobs.is_held = 0, True
    monkeypatch.setattr("arraymill._caller.MAX_IN_FLIGHT", 2)
    async with AsyncClient(jobs.address) as mill:
        held = [await mill.submit(X + number) for number in range(2)]
        assert repr(mill) == f"<AsyncClient of {jobs.address}: open | 2 running, 0 waiting>"
        with pytest.raises(DeadlineError):
            await mill.submit(X, timeout=0.05)
        third = asyncio.create_task(mill.submit(X))
        assert await mill.sum(X) == X.sum(), "jobs do not wait behind uploads"
        assert not third.done()
        await held[0].cancel()
        assert (await third).id == "job2"
    with pytest.raises(ConnectionFailedError):
        await held[1].uploaded()
