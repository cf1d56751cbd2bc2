"""Workers that allocate without end, in a control group with a limit: the kernel takes them and never the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from groups import control_group

MIB = 1 << 20
LIMIT = 320 * MIB
ARENA = 250 * MIB
"""More than half of the limit: without a score to its workers' debit, the kernel would take the server, which has
written all of it."""

SERVER = f"""
import asyncio, json, os, sys
from arraymill_proto.errors import TooLargeError
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.testing.faults import CELL_BYTES, leak_task, result, write_task

CELLS = [64 + CELL_BYTES * number for number in range(8)]

open(sys.argv[1], "w").write(str(os.getpid()))

from arraymill_server.testing.faults import faulty_main

async def main():
    arena = Arena.create({ARENA})
    engine = PoolEngine(
        arena.raw, 2, worker_memory_bytes=1 << 30, task_timeout_seconds=60.0, worker_tasks=0, main=faulty_main
    )
    await engine.start()
    others = [engine.submit("other", write_task(cell, cell, seconds=0.02)) for cell in CELLS]
    try:
        await engine.submit("greedy", leak_task(0, {2 * LIMIT}))
    except TooLargeError as error:
        told = {{"text": str(error), **error.details}}
    await asyncio.gather(*others)
    right = [result(arena.memory, cell) for cell in CELLS] == CELLS
    print(json.dumps({{"told": told, "right": right, "endings": dict(engine.status.endings)}}))
    await engine.close()

asyncio.run(main())
"""


def test_the_kernel_takes_a_worker_and_the_job_is_told_the_numbers() -> None:
    with control_group("memory", f"arraymill-test-{os.getpid()}") as group:
        group.write("memory.limit_in_bytes", str(LIMIT))
        server = subprocess.run(
            [sys.executable, "-c", SERVER, str(group.path / "cgroup.procs")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert server.returncode == 0, server.stderr
        assert int(group.read("memory.oom_control").split()[-1]) == 3
    seen = json.loads(server.stdout.splitlines()[-1])
    assert seen["right"]
    assert seen["endings"] == {"out of memory": 3}
    told = seen["told"]
    assert (told["operation"], told["attempts"]) == ("leak", "3")
    assert told["available_bytes"] == str(LIMIT)
    assert "projected_bytes" in told
    assert f"{LIMIT:,} bytes" in told["text"]
