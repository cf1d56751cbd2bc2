"""A server that is asked again and again."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tops import info_of, jobs_of

from arraymill import AsyncClient, JobStatus, ServerInfo
from arraymill.cli.top import _source
from arraymill.cli.top._source import Source
from arraymill_proto.errors import ConnectionFailedError


class FakeMill:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.asked = 0
        self.limit = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.error: ConnectionFailedError | None = None

    async def info(self, *, timeout: float) -> ServerInfo:
        self.asked += 1
        await self.answering.wait()
        if self.error is not None:
            raise self.error
        return info_of(uptime_seconds=1000.0)

    async def jobs(self, *, ended: bool, limit: int, timeout: float) -> tuple[JobStatus, ...]:
        assert not ended
        return jobs_of(min(limit, 3))


def source_of(mill: Any, interval: float = 0.02) -> Source:
    return Source(cast("AsyncClient", mill), "host:1", interval, 10)


async def test_each_answer_is_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(mill := FakeMill())
    first, second = await source.answer(), await source.next()
    assert (first.flows, list(second.flows), mill.asked) == ({}, ["jobs", "received", "sent", "refusals"], 2)
    assert (len(second.jobs), second.has_more_jobs) == (3, False)
    monkeypatch.setattr(_source, "MOST_JOBS", 2)
    third = await source.next()
    assert (len(third.jobs), third.has_more_jobs) == (2, True)


async def test_a_server_that_never_answered_is_an_error() -> None:
    mill = FakeMill()
    mill.error = ConnectionFailedError("nobody there")
    with pytest.raises(ConnectionFailedError, match="nobody there"):
        await source_of(mill).answer()


async def test_a_server_that_is_gone_is_asked_until_it_is_back() -> None:
    source = source_of(mill := FakeMill())
    await source.answer()
    mill.error = ConnectionFailedError("gone")
    for _ in range(3):
        assert (await source.next()).trouble == "gone"
    mill.error = None
    assert (await source.next()).trouble == ""
    assert mill.asked == 5


async def test_a_question_without_an_answer_is_not_asked_twice() -> None:
    source = source_of(mill := FakeMill())
    await source.answer()
    mill.answering.clear()
    for _ in range(3):
        assert (await source.next()).trouble == "no answer yet"
    mill.answering.set()
    assert (await source.next()).trouble == ""
    assert mill.asked == 2


async def test_closing_ends_an_open_question() -> None:
    source = source_of(mill := FakeMill())
    await source.answer()
    mill.answering.clear()
    await source.next()
    await source.close()
    await source_of(mill).close()
