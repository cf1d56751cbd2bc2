"""One worker as the server sees it, with a socket and a pipe in the place of the process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from arraymill_server.engine.death import Death
from arraymill_server.engine.link import Link
from arraymill_server.engine.messages import Hello, Message, Reply, Request, decode_order, encode, frame
from arraymill_server.engine.turns import Entry
from arraymill_server.testing.faults import write_task

HOUR = 3600.0


def request_of(payload: bytes) -> Request:
    """Read what must be a request."""
    order = decode_order(payload)
    assert isinstance(order, Request)
    return order


class FakeProcess:
    """A process that ends when the test says so. Its kills are noted: they never reach a process."""

    def __init__(self) -> None:
        self.sentinel, self._exit = os.pipe()
        self.pid = 1 << 30  # beyond the kernel's largest pid
        self.exitcode: int | None = None
        self.is_closed = False

    def start(self) -> None: ...

    def join(self, timeout: float | None = None) -> None:
        assert self.exitcode is not None

    def close(self) -> None:
        self.is_closed = True
        os.close(self.sentinel)

    def exit(self, code: int) -> None:
        self.exitcode = code
        os.close(self._exit)


class Owner:
    """Notes what it hears, and lets a test wait for it."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.replies: asyncio.Queue[tuple[Entry, Reply]] = asyncio.Queue()
        self.death: asyncio.Future[tuple[Death, Entry | None]] = asyncio.get_running_loop().create_future()
        self.fence: asyncio.Future[tuple[Death, list[Entry]]] = asyncio.get_running_loop().create_future()

    def link_ready(self, link: Link) -> None:
        self.ready.set()

    def link_replied(self, link: Link, entry: Entry, reply: Reply) -> None:
        self.replies.put_nowait((entry, reply))

    def link_fenced(self, link: Link, death: Death, waiting: list[Entry]) -> None:
        self.fence.set_result((death, waiting))

    def link_died(self, link: Link, death: Death, suspect: Entry | None) -> None:
        self.death.set_result((death, suspect))


class Scene:
    """A link, and the worker's side of it in the test's hands."""

    def __init__(self, start_seconds: float) -> None:
        ours, self.pipe = socket.socketpair()
        self.pipe.setblocking(False)
        self.process = FakeProcess()
        self.owner = Owner()
        self.killed = asyncio.Event()
        self.link = Link(self.process, ours, self.owner, seat=3, start_seconds=start_seconds)
        self.ids = count(1)
        self._loop = asyncio.get_running_loop()

    async def say(self, message: Message) -> None:
        await self._loop.sock_sendall(self.pipe, frame(encode(message)))

    async def hello(self) -> None:
        await self.say(Hello(7))
        await self.owner.ready.wait()

    def send(self, payload_bytes: int = 0, limit_seconds: float = HOUR) -> Entry:
        task_id = next(self.ids)
        task = write_task(0, task_id)
        payload = encode(Request(task_id, 1, task)) if not payload_bytes else bytes(payload_bytes)
        entry = Entry(task_id, "job", task, self._loop.create_future(), payload, limit_seconds=limit_seconds)
        self.link.send(entry)
        return entry

    def end(self, code: int) -> None:
        """End as a process does: the pipe first, then the exit code."""
        self.pipe.close()
        self.process.exit(code)


@asynccontextmanager
async def scene_of(monkeypatch: pytest.MonkeyPatch, start_seconds: float = HOUR) -> AsyncGenerator[Scene, None]:
    """Make a scene, and end its worker if it has not ended."""
    scene = Scene(start_seconds)

    def kill(pid: int, number: int) -> None:
        if number != signal.SIGCONT:  # that one is for the fork server
            assert (pid, number) == (scene.process.pid, signal.SIGKILL)
            scene.killed.set()

    monkeypatch.setattr(os, "kill", kill)
    yield scene
    if not scene.owner.death.done():
        scene.end(0)
        await scene.owner.death
    scene.pipe.close()
    assert scene.process.is_closed
