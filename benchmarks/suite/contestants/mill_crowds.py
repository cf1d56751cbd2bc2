"""arraymill with many jobs at once: in flight together, of many clients, and small ones beside a large one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import arraymill as am
from suite.data import numbers
from suite.feeder import DONE, START
from suite.lanes import LANE, SWITCHES
from suite.processes import READY, arraymill_command, server_process
from suite.task import Figures, Run, Task, Works, all_at_once, of_latencies

WORKERS: Final = 2
ARENA: Final = "256MiB"


def _lane(task: Task) -> str:
    return str(task.options.get("lane", LANE))


@contextmanager
def _clients(task: Task) -> Iterator[tuple[asyncio.Runner, list[am.AsyncClient], str]]:
    switches = SWITCHES[_lane(task)]
    with server_process(arraymill_command(WORKERS, ARENA)) as (address, _), asyncio.Runner() as runner:
        clients = [am.AsyncClient(address, **switches) for _ in range(task.clients)]
        try:
            yield runner, clients, address
        finally:
            for client in clients:
                runner.run(client.close())


@contextmanager
def _burst(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _clients(task) as (runner, [mill], _):

        async def many() -> list[Any]:
            left = iter(range(task.jobs))

            async def one_after_the_other() -> list[Any]:
                return [await mill.sum(x) for _ in left]

            lanes = await asyncio.gather(*(one_after_the_other() for _ in range(task.in_flight)))
            return [answer for lane in lanes for answer in lane]

        yield all_at_once(lambda: runner.run(many()), task.jobs)


async def _timed(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    begin = time.perf_counter()
    answer = await call()
    return time.perf_counter() - begin, answer


@contextmanager
def _crowd(task: Task) -> Iterator[Run]:
    """Let clients make their jobs, one after the other each; the seconds are the whole's, divided by all jobs."""
    x = numbers(task.nbytes)
    with _clients(task) as (runner, clients, _):

        async def one(mill: am.AsyncClient) -> list[tuple[float, Any]]:
            return [await _timed(lambda: mill.sum(x)) for _ in range(task.jobs)]

        async def everybody() -> list[tuple[float, Any]]:
            return [each for client in await asyncio.gather(*map(one, clients)) for each in client]

        def run() -> tuple[Figures, list[Any]]:
            begin = time.perf_counter()
            done = runner.run(everybody())
            seconds = (time.perf_counter() - begin) / len(done)
            return of_latencies([latency for latency, _ in done]) | {"seconds": seconds}, [answer for _, answer in done]

        yield run


@contextmanager
def _beside(task: Task) -> Iterator[Run]:
    """Make small jobs one after the other: so many, or as long as another client's large job runs if that is longer."""
    x, nbytes = numbers(task.nbytes), int(task.options["beside"])
    with _clients(task) as (runner, [mill], address), _feeder(address, _lane(task), nbytes) as other:

        async def jobs() -> list[tuple[float, Any]]:
            done: list[tuple[float, Any]] = []
            async with other() as is_over:
                while len(done) < task.jobs or not is_over():
                    done.append(await _timed(lambda: mill.sum(x)))
            return done

        def run() -> tuple[Figures, list[Any]]:
            done = runner.run(jobs())
            return of_latencies([latency for latency, _ in done]), [answer for _, answer in done]

        yield run


@contextmanager
def _feeder(address: str, lane: str, nbytes: int) -> Iterator[Callable[[], Any]]:
    """Yield what begins the large job in a process of its own, and says whether it is over; 0 bytes: nothing."""
    if not nbytes:
        yield _nothing
        return
    command = [sys.executable, "-m", "suite.feeder", address, lane, str(nbytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if READY not in process.stdout.readline():
                raise RuntimeError("the client of the large job did not start")
            yield lambda: _large_job(process)
        finally:
            process.kill()


@asynccontextmanager
async def _nothing() -> AsyncIterator[Callable[[], bool]]:
    yield lambda: True


@asynccontextmanager
async def _large_job(process: subprocess.Popen[str]) -> AsyncIterator[Callable[[], bool]]:
    assert process.stdin is not None
    assert process.stdout is not None
    said: list[str] = []
    reader = threading.Thread(target=lambda stdout: said.append(stdout.readline()), args=(process.stdout,))
    print(START, file=process.stdin, flush=True)
    reader.start()
    yield lambda: not reader.is_alive()
    reader.join()
    if said != [f"{DONE}\n"]:
        raise RuntimeError(f"the client of the large job said {said}")


CROWDS: Works = {"burst": _burst, "clients": _crowd, "beside": _beside}
