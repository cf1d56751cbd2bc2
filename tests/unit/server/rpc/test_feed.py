"""The exchange of a submitted job: clients come, are replaced and go, and the job does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from feeders import DATA, INPUT_BYTES, Client, Job
from patience import turns, until
from wire import BulkStream, bulk_stream, hello_bytes, record_bytes

from arraymill_proto.errors import FrameError
from arraymill_server.jobs.submitted import Figures
from arraymill_server.listen import Address
from arraymill_server.rpc import bulk, lanes
from arraymill_server.rpc.bulk_listener import BulkListener

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]

PATTERN = 0xA5


@asynccontextmanager
async def running(*offsets: int) -> AsyncGenerator[Job]:
    """A job that runs and wants some ranges of 10,000 bytes."""
    job = Job()
    job.start()
    for offset in offsets:
        job.want(offset, 10_000)
    yield job
    job.exchange.end()


@asynccontextmanager
async def listening() -> AsyncGenerator[BulkListener]:
    listener = BulkListener.open([Address("127.0.0.1")], 0)
    assert listener is not None
    yield listener
    await listener.close()


# ---------------------------------------------------------------------- coming and going


async def test_who_comes_is_told_everything_that_is_open() -> None:
    async with running(0, 10_000) as job:
        assert repr(job.exchange) == "<FedExchange waits for a client: <Wants 2 open of 2 | 0 bytes received>>"
        client = await job.attach(3)
        assert repr(job.exchange).startswith("<FedExchange fed: ")
        job.want(20_000, 10_000)
        await until(lambda: len(client.sent) == 4)
        assert client.told == ["accepted", "want 3: 0+10000", "want 4: 10000+10000", "want 5: 20000+10000"]
        assert client.sent[0].accepted.job_id == "j7"
        client.leave()


async def test_who_comes_before_the_job_runs_hears_of_its_start() -> None:
    job = Job()
    started: list[str] = []
    job.exchange.on_start = lambda: started.append("now")
    client = await job.attach(0)
    await turns(5)
    assert (client.sent, started) == ([], [])
    job.start()
    job.want(0, 100)
    await until(lambda: client.told == ["accepted", "want 1: 0+100"])
    assert started == ["now"]
    client.leave()
    job.exchange.end()


async def test_while_nobody_is_there_nothing_is_kept_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PROGRESS_SECONDS", -1.0)
    async with running(0) as job:
        first = await job.attach(2)
        first.leave()
        job.want(10_000, 100)
        for blocks in range(3):
            job.exchange.progress(blocks)
        second = await job.attach(4)
        await turns(5)
        assert second.told == ["accepted", "want 4: 0+10000", "want 5: 10000+100", "progress"]
        assert second.sent[-1].progress.blocks_done == 2
        assert first.told == ["accepted", "want 2: 0+10000"]
        second.leave()


async def test_what_has_come_stays_and_the_rest_is_wanted_again() -> None:
    async with running(0, 10_000) as job:
        first = await job.attach(3)
        first.frame(3, 0, 10_000)
        first.frame(4, 10_000, 19_999)
        assert (job.tokens, job.exchange.received_bytes) == ([0], 19_999)
        first.leave()
        second = await job.attach(2)
        assert second.told == ["accepted", "want 5: 19999+1"]
        assert job.exchange.received_bytes == 19_999
        second.frame(5, 19_999, 20_000)
        assert job.tokens == [0, 10_000]
        assert job.has(20_000)
        second.leave()


async def test_who_sends_no_more_may_leave_the_rest_to_others() -> None:
    async with running(0) as job:
        first = await job.attach(2)
        first.session.input_ended()
        job.want(10_000, 100)
        assert not job.errors
        first.leave()
        second = await job.attach(3)
        second.frame(4, 0, 10_000)
        assert job.tokens == [0]
        second.leave()


# ---------------------------------------------------------------------- being replaced


async def test_a_frame_of_who_was_replaced_is_dropped() -> None:
    """Whatever it is: one that fits what is wanted now, one that came before, one that fits nothing."""
    async with running(0) as job:
        first = await job.attach(2)
        first.frame(2, 0, 4000)
        second = await job.attach(2)
        assert (first.session.is_replaced, second.session.is_replaced) == (True, False)
        first.frame(3, 4000, 10_000)
        first.frame(2, 4000, 10_000)
        first.frame(99, 0, 10)
        assert (job.tokens, job.exchange.received_bytes) == ([], 4000)
        assert job.memory[4000:] == bytearray(INPUT_BYTES - 4000)
        second.frame(3, 4000, 10_000)
        assert job.tokens == [0]
        first.leave()
        second.leave()
        assert not job.errors


async def test_what_a_newcomer_sends_for_old_numbers_is_dropped() -> None:
    """It may be the same client, on another connection: frames that it had cut before are on their way."""
    async with running(0) as job:
        first = await job.attach(2)
        second = await job.attach(2)
        second.frame(2, 0, 10_000)
        assert (job.tokens, job.exchange.received_bytes) == ([], 0)
        with pytest.raises(FrameError, match="which the server has not asked for; the last one is 3"):
            second.frame(99, 0, 10)
        first.leave()
        second.leave()


async def test_who_was_replaced_hears_nothing_more() -> None:
    """Also of what had been put before it, but not been said: the newcomer hears of the same."""
    async with running(0) as job:
        first = await job.attach(2)
        first.is_reading.clear()
        job.want(10_000, 100)
        await turns(3)
        second = await job.attach(3)
        assert first.session.sending.cancelled()
        first.is_reading.set()
        job.want(20_000, 100)
        await until(lambda: len(second.sent) == 4)
        assert first.told == ["accepted", "want 2: 0+10000"]
        assert second.told == ["accepted", "want 4: 0+10000", "want 5: 10000+100", "want 6: 20000+100"]
        first.leave()
        second.leave()


async def test_who_was_replaced_goes_without_a_trace() -> None:
    async with running(0) as job:
        first = await job.attach(2)
        second = await job.attach(2)
        first.leave()
        job.want(10_000, 100)
        await until(lambda: len(second.sent) == 3)
        second.leave()


# ---------------------------------------------------------------------- the bulk lane


async def test_every_client_gets_a_secret_of_its_own() -> None:
    """That of whoever was replaced opens nothing, used or not."""
    async with listening() as listener, running(0) as job:
        first = await job.attach(2, listener)
        second = await job.attach(2, listener)
        assert first.secret != second.secret
        async with bulk_stream(listener.port) as stranger:
            await stranger.say(hello_bytes(first.secret) + record_bytes(3, 0, 0, DATA[:10_000]))
            assert await stranger.ended() == b""
        assert not job.tokens
        async with bulk_stream(listener.port) as client:
            await client.greet(second.secret)
            await client.say(record_bytes(3, 0, 0, DATA[:10_000]))
            await until(lambda: job.tokens == [0])
        first.leave()
        second.leave()
        third = await job.attach(1)
        assert not third.sent[0].accepted.HasField("bulk")
        third.leave()


def test_the_connection_of_who_was_replaced_ends_and_brings_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is half there, and its client goes on sending, at whatever moment another one comes."""
    monkeypatch.setattr(bulk, "PIECE_BYTES", 500)

    async def replace_after(listener: BulkListener, count: int) -> int:
        async with running(0, 10_000) as job:
            first = await job.attach(3, listener)
            async with bulk_stream(listener.port) as client:
                await client.greet(first.secret)
                await client.say(record_bytes(3, 0, 0, DATA[:10_000])[:8000])
                await turns(count)
                came = INPUT_BYTES - job.memory.count(0)
                second = Client(job)
                job.memory[:] = bytes([PATTERN]) * INPUT_BYTES
                client.writer.write(record_bytes(3, 0, 0, DATA[:10_000])[8000:] + record_bytes(4, 0, 10_000, b"x"))
                await client.ended()
                await turns(5)
            assert set(job.memory) == {PATTERN}
            assert (job.exchange.received_bytes, job.tokens, job.errors) == (0, [], [])
            await until(lambda: len(second.sent) == 3)
            assert second.told == ["accepted", "want 5: 0+10000", "want 6: 10000+10000"], "it hears of no lost lane"
            first.leave()
            second.frame(5, 0, 10_000)
            assert job.tokens == [0]
            assert job.has(10_000)
            second.leave()
        return came

    async def main() -> None:
        async with listening() as listener:
            amounts = [await replace_after(listener, count) for count in range(0, 40, 3)]
            assert any(0 < came < 7500 for came in amounts), amounts

    run(main())


async def test_a_connection_ends_when_its_client_leaves() -> None:
    async with listening() as listener, running(0) as job:
        first = await job.attach(2, listener)
        async with bulk_stream(listener.port) as client:
            await client.greet(first.secret)
            await client.say(record_bytes(2, 0, 0, DATA[:10_000])[:5000])
            await until(lambda: job.has(4000))
            first.leave()
            await client.ended()
        second = await job.attach(2)
        second.frame(3, 0, 10_000)
        assert (job.tokens, job.exchange.received_bytes) == ([0], 10_000)
        second.leave()


BREAKS: dict[str, Callable[[BulkStream], Coroutine[Any, Any, None]]] = {
    "a record of nobody's want": lambda client: client.say(record_bytes(99, 0, 0, b"x")),
    "other bytes than were sent": lambda client: client.say(record_bytes(2, 0, 0, DATA[:10_000], checksum=1)),
    "garbage": lambda client: client.say(b"\xff" * 400),
    "the end": lambda client: client.say(b""),
}


@pytest.mark.parametrize("name", BREAKS)
async def test_a_connection_that_breaks_is_replaced_by_frames(name: str) -> None:
    """Whoever is to blame: a submitted job does not end with a connection."""
    async with listening() as listener, running(0) as job:
        fed = await job.attach(2, listener)
        async with bulk_stream(listener.port) as client:
            await client.greet(fed.secret)
            await BREAKS[name](client)
            client.writer.close()
            await until(lambda: len(fed.sent) == 4)
        assert fed.told[2:] == ["bulk_ended", "want 3: 0+10000"]
        fed.frame(3, 0, 10_000)
        assert (job.tokens, job.errors) == ([0], [])
        fed.leave()


# ---------------------------------------------------------------------- the end


async def test_who_feeds_hears_all_before_the_end() -> None:
    async with running(0) as job:
        client = await job.attach(2)
        client.is_reading.clear()
        job.want(10_000, 100)
        job.exchange.close()
        said = asyncio.create_task(client.session.wait_said())
        await turns(5)
        assert not said.done()
        client.is_reading.set()
        await said
        assert client.told[-1] == "want 3: 10000+100"
        client.leave()


async def test_a_client_that_has_gone_is_no_reason_to_wait() -> None:
    async with running() as job:
        first = await job.attach(1)
        second = await job.attach(1)
        await first.session.wait_said()
        first.leave()
        second.leave()


async def test_a_job_that_never_ran_lets_its_client_go() -> None:
    job = Job()
    ends: list[str] = []
    job.exchange.on_end = lambda: ends.append("now")
    client = await job.attach(0)
    job.exchange.end()
    await client.session.wait_said()
    client.leave()
    assert (ends, client.sent, job.exchange.stalled.cancelled()) == (["now"], [], True)


async def test_figures() -> None:
    """Of what clients have to bring: the inline input is none of it."""
    job = Job()
    assert job.exchange.figures == Figures(INPUT_BYTES, 0, 0, 0)
    job.start()
    job.want(0, 10_000)
    client = await job.attach(2)
    client.frame(2, 0, 4000)
    job.exchange.progress(3)
    assert job.exchange.figures == Figures(INPUT_BYTES, 4000, 3, 9)
    client.leave()
    job.exchange.end()
    assert job.exchange.figures == Figures(INPUT_BYTES, 4000, 3, 9)


async def test_whatever_moves_the_figures_is_progress() -> None:
    """Frames, a replaced client, records, a lost connection and blocks; what lay behind a gap is lost."""
    seen = [(0, 0)]

    def note() -> None:
        figures = job.exchange.figures
        if (told := (figures.received_bytes, figures.blocks_done)) != seen[-1]:
            seen.append(told)

    def note_soon() -> None:
        asyncio.get_running_loop().call_soon(note)

    async with listening() as listener, running(0, 10_000) as job:
        job.exchange.on_progress = note_soon
        first = await job.attach(3)
        first.frame(3, 6000, 10_000)
        await turns(1)
        second = await job.attach(3, listener)
        assert seen[-1] == (0, 0)
        async with bulk_stream(listener.port) as client:
            await client.greet(second.secret)
            await client.say(record_bytes(5, 0, 5000, DATA[5000:10_000]))
            await until(lambda: seen[-1] == (5000, 0))
        await until(lambda: second.told[3:] == ["bulk_ended", "want 7: 0+10000", "want 8: 10000+10000"])
        await turns(1)
        second.frame(7, 0, 10_000)
        await turns(1)
        job.exchange.progress(3)
        await turns(1)
        first.leave()
        second.leave()
    assert seen == [(0, 0), (4000, 0), (0, 0), (5000, 0), (0, 0), (10_000, 0), (10_000, 3)]
