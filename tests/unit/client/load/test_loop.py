"""The event loop of generators: an ordinary one, whose waits are not rounded to milliseconds."""

from __future__ import annotations

import asyncio
import socket
import time

from arraymill.load._loop import precise_loop


async def _talk() -> bytes:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, one.send, b"x")
        return await loop.sock_recv(other, 1)


def test_it_waits_for_descriptors_and_for_times() -> None:
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        assert runner.run(_talk()) == b"x"
        begin = time.monotonic()
        runner.run(asyncio.sleep(0.0123))
        assert time.monotonic() - begin >= 0.0123


def test_it_does_not_round_waits() -> None:
    """The shortest of many is what the loop makes of it, whatever else the machine has to do."""

    async def shortest() -> float:
        loop, waits = asyncio.get_running_loop(), list[float]()
        for _ in range(200):
            begin = loop.time()
            await asyncio.sleep(0.0002)
            waits.append(loop.time() - begin)
        return min(waits)

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        assert runner.run(shortest()) < 0.001
