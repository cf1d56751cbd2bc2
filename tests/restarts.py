"""Rolling restarts under steady load: `python tests/restarts.py 30` prints what became of the calls.

The next server takes over the addresses of the one before, which is then told to stop; the clients are the shipped
library's, and hear of nothing.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from servers import RunningServer, running_server

import arraymill as am

SMALL = np.arange(1_000.0)
LARGE = np.arange(400_000.0)
HUGE = np.arange(1_200_000.0)  # goes by the bulk lane

CALLS: dict[str, Callable[[am.AsyncClient], Awaitable[object]]] = {
    "one message": lambda mill: mill.sum(SMALL),
    "a stream": lambda mill: mill.sum(LARGE),
    "a bulk connection": lambda mill: mill.sum(HUGE),
    "a submitted job": lambda mill: submitted(mill, SMALL),
    "a fed job": lambda mill: submitted(mill, LARGE),
    "information": lambda mill: mill.info(),
}
RESULTS = dict(zip(CALLS, (x.sum() for x in (SMALL, LARGE, HUGE, SMALL, LARGE)), strict=False))


async def submitted(mill: am.AsyncClient, x: NDArray[np.float64]) -> object:
    job = await mill.submit(am.asarray(x).sum())
    return await job.result()


@dataclass(slots=True)
class Tally:
    """What became of the calls."""

    answers: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])

    def __str__(self) -> str:
        times = np.array(self.seconds or [0.0])
        return (
            f"{sum(self.answers.values())} calls, {len(self.failures)} failed, "
            f"p50 {1000 * np.median(times):.0f} ms, p99 {1000 * np.quantile(times, 0.99):.0f} ms, "
            f"longest {1000 * times.max():.0f} ms"
        )


async def steady(address: str, tally: Tally, stop: asyncio.Event, pause: float) -> None:
    """Make one call after the other until it is enough."""
    async with am.AsyncClient(address) as mill:
        while not stop.is_set():
            for name, call in CALLS.items():
                begin = monotonic()
                try:
                    answer = await call(mill)
                except am.ArraymillError as error:
                    tally.failures.append(f"{name}: {type(error).__name__}: {error}")
                else:
                    right = RESULTS.get(name)
                    tally.answers[name] += 1
                    if right is not None and answer != right:
                        tally.failures.append(f"{name}: {answer} instead of {right}")
                tally.seconds.append(monotonic() - begin)
                await asyncio.sleep(pause)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where one server after the other listens."""

    grpc: str
    bulk_port: str


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def free_addresses(grpc: str = "") -> Addresses:
    return Addresses(grpc or f"127.0.0.1:{free_port()}", str(free_port()))


async def restart(stack: ExitStack, addresses: Addresses, before: RunningServer | None) -> RunningServer:
    """Start the next server, then stop the one before, and wait for its end."""
    options = ("--listen", addresses.grpc, "--bulk-port", addresses.bulk_port, "--take-over", "--log-level", "warning")
    context = running_server(*options, workers=1, arena="64MiB")
    server = await asyncio.to_thread(stack.enter_context, context)
    if before is not None:
        before.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(before.process.wait, 60)
        assert code == 0, code
    return server


async def roll(addresses: Addresses, restarts: int, clients: int = 4, pause: float = 0.01) -> Tally:
    """Restart a server again and again under load."""
    tally, stop = Tally(), asyncio.Event()
    with ExitStack() as stack:
        server = await restart(stack, addresses, None)
        load = [asyncio.ensure_future(steady(addresses.grpc, tally, stop, pause)) for _ in range(clients)]
        await asyncio.sleep(0.3)
        for _ in range(restarts):
            server = await restart(stack, addresses, server)
            await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*load)
        server.process.send_signal(signal.SIGTERM)
    return tally


if __name__ == "__main__":
    told = asyncio.run(roll(free_addresses(*sys.argv[2:3]), int(sys.argv[1])))
    print(told)
    print(*told.failures[:10], sep="\n")
