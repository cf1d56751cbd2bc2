"""Finding memory shared with a server: where it is tried, once for all jobs, and not again and again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from arraymill import _memory_route
from arraymill._memory import MemorySession
from arraymill._memory_route import MemoryRoute
from arraymill_proto.errors import InternalError
from arraymill_proto.v1 import arraymill_pb2 as pb

INFO = pb.ServerInfo(memory_paths=["@name", "/server/socket.memory"])


class FakeSession:
    is_open = True

    def close(self) -> None:
        self.is_open = False


class Host:
    """Where sessions are opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self.there: set[str] = set()
        self.opened: list[FakeSession] = []
        self.error: Exception = FileNotFoundError()
        monkeypatch.setattr(MemorySession, "open", self._open)

    async def _open(self, path: str) -> FakeSession:
        self.tried.append(path)
        await asyncio.sleep(0)
        if path not in self.there:
            raise self.error
        self.opened.append(FakeSession())
        return self.opened[-1]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


async def test_all_jobs_share_one_session(host: Host) -> None:
    route = MemoryRoute("127.0.0.1:5", is_wanted=True)
    host.there = {"\0name"}
    first, *others = await asyncio.gather(*(route.session(INFO) for _ in range(5)))
    assert first is not None
    assert all(other is first for other in others)
    assert host.tried == ["\0name"]
    first.close()
    assert await route.session(INFO) is not first, "it has ended"
    route.close()
    route.close()


async def test_a_client_that_closes_meanwhile_has_none(host: Host) -> None:
    route = MemoryRoute("127.0.0.1:5", is_wanted=True)
    host.there = {"\0name"}
    asking = [asyncio.ensure_future(route.session(INFO)) for _ in range(2)]
    await asyncio.sleep(0)
    route.close()
    assert await asyncio.gather(*asking) == [None, None]
    assert [session.is_open for session in host.opened] == [False]
    assert not route.is_open
    assert host.tried == ["\0name"], "the second did not try any more"


async def test_a_socket_is_looked_for_beside_that_of_the_server_as_well(host: Host, tmp_path: Path) -> None:
    """In another container the folder has another name."""
    route = MemoryRoute(f"unix:{tmp_path}/socket", is_wanted=True)
    assert await route.session(INFO) is None
    assert host.tried == ["\0name", f"{tmp_path}/socket.memory", "/server/socket.memory"]
    same = MemoryRoute("unix:/server/socket", is_wanted=True)
    host.tried.clear()
    assert await same.session(INFO) is None
    assert host.tried == ["\0name", "/server/socket.memory"], "each once"


@pytest.mark.parametrize("error", [OSError(), EOFError(), TimeoutError(), InternalError("unsealed")])
async def test_what_cannot_be_had_is_not_tried_again_soon(
    host: Host, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = MemoryRoute("127.0.0.1:5", is_wanted=True)
    host.error = error
    for _ in range(3):
        assert await route.session(INFO) is None
    assert len(host.tried) == 2
    host.there = {"@other"}
    assert await route.session(pb.ServerInfo(memory_paths=["/other"])) is None, "another server"
    assert len(host.tried) == 3
    monkeypatch.setattr(_memory_route, "monotonic", lambda: 1e12)
    await route.session(pb.ServerInfo(memory_paths=["/other"]))
    assert len(host.tried) == 4


async def test_who_does_not_want_it_does_not_try(host: Host) -> None:
    assert await MemoryRoute("127.0.0.1:5", is_wanted=False).session(INFO) is None
    assert await MemoryRoute("127.0.0.1:5", is_wanted=True).session(pb.ServerInfo()) is None
    assert host.tried == []
