"""The server process dies, in whatever state its workers are: nothing of it may be left."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from subprocess import DEVNULL, PIPE

import psutil
import pytest

SERVER = """
import asyncio, os, sys
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.attach import attach
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.testing.faults import Fault, Point, attempts, fault_task, faulty_main

async def main():
    arena = Arena.create(1 << 16)
    memory = attach(arena.raw)
    engine = PoolEngine(
        arena.raw, 4, worker_memory_bytes=1 << 26, task_timeout_seconds=600.0, in_flight=1, main=faulty_main
    )
    await engine.start()
    engine.submit("job", fault_task(Fault.HANG, Point.COMPUTE, 64))
    engine.submit("job", fault_task(Fault.STOP, Point.COMPUTE, 128))
    engine.submit("job", fault_task(Fault.SPIN, Point.COMPUTE, 192))
    while not (attempts(memory, 64) and attempts(memory, 128) and attempts(memory, 192)):
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.readline()
    {end}

asyncio.run(main())
"""

ENDS = {
    "killed": (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", -signal.SIGKILL),
    "terminated": (f"os.kill(os.getpid(), {int(signal.SIGTERM)})", -signal.SIGTERM),
    "leaves without a word": ("os._exit(5)", 5),
    "leaves without closing": ("sys.exit(6)", 6),
    "closes": ("await engine.close()", 0),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_server_ends_everything(end: str) -> None:
    action, code = ENDS[end]
    command = [sys.executable, "-c", SERVER.replace("{end}", action)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        assert server.stdout.readline() == "ready\n"
        children = psutil.Process(server.pid).children(recursive=True)
        try:
            server.stdin.write("\n")
            server.stdin.flush()
            _, alive = psutil.wait_procs(children, timeout=20)
            assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
            assert server.wait(timeout=20) == code
        finally:
            server.kill()
            for process in children:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
    assert len(children) == 4 + 2, "four workers, the fork server and the resource tracker"
