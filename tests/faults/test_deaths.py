"""Processes that are killed while jobs run."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from load import run_load
from servers import RunningServer, running_server

import arraymill as am

LOAD = Path(__file__).parents[1] / "load.py"
KILLS = 15
"""`make chaos ARGS=deaths` has 500."""


def workers_of(server: RunningServer) -> list[psutil.Process]:
    """The worker processes: children of the fork server."""
    return [child for process in psutil.Process(server.pid).children() for child in process.children()]


def _shared_memory() -> set[Path]:
    return set(Path("/dev/shm").iterdir())


def _is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: whoever has inherited it has not asked for its exit code yet."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def kill_workers(server: RunningServer, kills: int, load: asyncio.Task[None]) -> int:
    """Kill a random worker again and again while the load runs; return how many died."""
    chance = random.Random(7)
    killed = 0
    while killed < kills and not load.done():
        if workers := workers_of(server):
            chance.choice(workers).send_signal(signal.SIGKILL)
            killed += 1
        await asyncio.sleep(chance.uniform(0.02, 0.1))
    return killed


async def test_workers_killed_under_load() -> None:
    with running_server("--log-level", "error") as server:
        killed, seed = 0, 0
        while killed < KILLS:
            seed += 1
            load = asyncio.ensure_future(run_load(server.address, seed=seed, jobs=40, largest=8 << 20))
            killed += await kill_workers(server, KILLS - killed, load)
            await load
        async with am.AsyncClient(server.address) as mill:
            assert (await mill.info()).workers == 2


async def test_a_killed_server_leaves_nothing() -> None:
    shared = _shared_memory()
    with running_server("--log-level", "error") as server:
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(family) >= 3
        async with am.AsyncClient(server.address, retry_for=0) as mill:
            job = asyncio.ensure_future(mill.sum(np.ones(64 << 20, np.int8)))
            while (await mill.info()).running_jobs == 0:
                assert not job.done(), "the job ended before it was seen running"
            server.process.kill()
            with pytest.raises(am.ConnectionFailedError, match=server.address):
                await job
            with pytest.raises(am.ConnectionFailedError, match=server.address):
                await mill.sum(np.ones(10))
        _, left = psutil.wait_procs(family, timeout=1.0)
        assert not [process for process in left if _is_alive(process)]
        assert _shared_memory() <= shared


def test_a_killed_client_costs_nothing() -> None:
    with running_server() as server:
        command = [sys.executable, str(LOAD), server.address, "3", "10", str(32 << 20)]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with am.Client(server.address) as mill:
            deadline = time.monotonic() + 60
            while mill.info().running_jobs == 0:
                assert time.monotonic() < deadline, client.poll()
            client.kill()
            client.wait()
            while (info := mill.info()).running_jobs or info.arena_free_bytes < info.arena_bytes:
                assert time.monotonic() < deadline, info
            assert mill.sum(np.ones(1 << 20)) == 1 << 20
