"""Whole programs with clients: how they end, what Ctrl-C does, and what forks and threads may do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from servers import RunningServer

import arraymill as am

HEAD = """
import asyncio, atexit, os, signal, sys, threading, time
import numpy as np
import arraymill as am
ADDRESS = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for what runs in the background
"""

PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "a client that is never closed": (
        "mill = am.Client(ADDRESS); print(mill.sum([1, 2]))",
        ["3"],
    ),
    "an asynchronous client that is never closed": (
        """
async def main():
    global mill
    mill = am.AsyncClient(ADDRESS)
    print(await mill.sum([1, 2]))
asyncio.run(main())
""",
        ["3"],
    ),
    "a client that is closed at the end of the process": (
        "mill = am.Client(ADDRESS); atexit.register(mill.close); print(mill.sum([1, 2]))",
        ["3"],
    ),
    "a client that is used at the end of the process": (
        "mill = am.Client(ADDRESS); atexit.register(lambda: print(mill.sum([3]))); print(mill.sum([1, 2]))",
        ["3", "3"],
    ),
    "a client that is used after the end": (
        """
atexit.unregister(am._background._end)
def late():
    am._background._end()
    try:
        mill.sum([1])
    except am.ArraymillError as error:
        print(str(error)[:21])
atexit.register(late)
mill = am.Client(ADDRESS); print(mill.sum([1, 2]))
""",
        ["3", "the process is ending"],
    ),
    "an end while a thread waits for a job": (
        """
mill = am.Client(ADDRESS)
x = np.ones(1 << 25)
threading.Thread(target=lambda: mill.compute(np.sqrt(am.asarray(x))), daemon=True).start()
time.sleep(0.1)
print("end")
""",
        ["end"],
    ),
    "a thread that outlives the main thread": (
        """
mill = am.Client(ADDRESS)
mill.sum([1])
def work():
    time.sleep(0.1)
    print(mill.sum([1, 2]))
threading.Thread(target=work).start()
""",
        ["3"],
    ),
    "clients that come and go": (
        """
for number in range(20):
    mill = am.Client(ADDRESS)
    assert mill.sum([number]) == number
    del mill
print("all")
""",
        ["all"],
    ),
    "one event loop after the other": (
        """
async def main():
    async with am.AsyncClient(ADDRESS) as mill:
        print(await mill.sum([1, 2]))
asyncio.run(main())
asyncio.run(main())
""",
        ["3", "3"],
    ),
    "one client in two event loops": (
        """
mill = am.AsyncClient(ADDRESS)
async def main():
    try:
        print(await mill.sum([1, 2]))
    except am.ArraymillError as error:
        print(str(error).partition(": ")[2])
asyncio.run(main())
asyncio.run(main())
asyncio.run(mill.close())
print(mill)
""",
        ["3", "make one for each loop", "<AsyncClient of ADDRESS: closed | 0 running, 0 waiting>"],
    ),
    "both clients at once": (
        """
mill = am.Client(ADDRESS)
x = np.ones(1 << 17)
async def main():
    async with am.AsyncClient(ADDRESS) as other:
        for _ in range(10):
            totals = await asyncio.gather(
                other.sum(x), asyncio.to_thread(mill.sum, x), other.sum(x[:5]), asyncio.to_thread(mill.sum, x[:5])
            )
            assert totals == [x.size, x.size, 5, 5]
asyncio.run(main())
print("all")
""",
        ["all"],
    ),
    "a fork before the first use": (
        """
child = os.fork()
with am.Client(ADDRESS) as mill:
    print(mill.sum([1, 2]), flush=True)
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
        ["3", "3"],
    ),
    "a fork after the first use": (
        """
mill = am.Client(ADDRESS)
print(mill.sum([1, 2]), flush=True)
child = os.fork()
if not child:
    for client in (mill, am.Client(ADDRESS)):
        try:
            client.sum([1])
        except am.ArraymillError as error:
            print(str(error)[:45], flush=True)
    sys.exit(7)
assert os.waitpid(child, 0)[1] == 7 << 8
print(mill.sum([1, 3]))
""",
        ["3", *["this process was forked from one that had use"] * 2, "4"],
    ),
    "a private server beside a forked child": (
        """
with am.local(workers=1, arena="64MiB") as mill:
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    begin = time.monotonic()
print("stopped" if time.monotonic() - begin < am._local.STOP_SECONDS else "killed")
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
""",
        ["stopped"],
    ),
    "a private server in a process of many files": (
        """
import resource
limit = min(3000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
with am.local(workers=1, arena="64MiB") as mill:
    print(mill.sum([1, 2]))
""",
        ["3"],
    ),
    "a private server that runs already": (
        """
private = am.local(workers=1, arena="64MiB")
with private as mill:
    try:
        private.__enter__()
    except am.ArraymillError as error:
        print(error)
    print(mill.sum([1, 2]))
""",
        ["this private server runs already: call local() again for another one", "3"],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_end_well_and_quietly(server: RunningServer, name: str) -> None:
    program, expected = PROGRAMS[name]
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", HEAD + program, server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # gRPC notes forks on stderr, whatever they do.
    noise = [line for line in done.stderr.splitlines() if "fork_posix.cc" not in line]
    assert (done.returncode, noise) == (0, [])
    assert done.stdout.splitlines() == [line.replace("ADDRESS", server.address) for line in expected]


INTERRUPTED = {
    "a large job": "while True: mill.compute(np.exp(np.sin(am.asarray(x))) - am.asarray(x).mean())",
    "small jobs": "while True: mill.sum([1, 2])",
    "a kept array": "while True: mill.delete(mill.put(x[: 1 << 20]))",
}

INTERRUPTIBLE = """
mill = am.Client(ADDRESS)
x = np.ones(1 << 23)
mill.sum([1])
try:
    print("ready", flush=True)
    {work}
except KeyboardInterrupt:
    print(mill.sum([1, 2]), flush=True)
    raise
"""


@pytest.fixture
def idle(server: RunningServer) -> Iterator[None]:
    """The server must have nothing to do when the test has ended."""
    yield
    with am.Client(server.address) as mill:
        for array in mill.list():
            mill.delete(array.id)
        end = time.monotonic() + 10
        while (info := mill.info()).running_jobs or info.waiting_jobs or info.arena_free_bytes < info.arena_bytes:
            assert time.monotonic() < end, info
            time.sleep(0.02)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("delay", [0.02, 0.2])
@pytest.mark.parametrize("name", INTERRUPTED)
def test_ctrl_c_cancels_the_job_and_the_client_goes_on(server: RunningServer, name: str, delay: float) -> None:
    program = HEAD + INTERRUPTIBLE.format(work=INTERRUPTED[name])
    command = [sys.executable, "-c", program, server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=30)
    assert said == "3\n"
    assert process.returncode == -signal.SIGINT
    assert complaint.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.usefixtures("idle")
def test_a_client_that_is_killed_costs_the_server_nothing(server: RunningServer) -> None:
    program = HEAD + INTERRUPTIBLE.format(work=INTERRUPTED["a large job"])
    with subprocess.Popen([sys.executable, "-c", program, server.address], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.kill()


PRIVATE = """
with am.local(workers=1, arena="64MiB") as mill:
    x = np.ones(1 << 22)
    try:
        print("ready", flush=True)
        while True: mill.compute(np.sqrt(am.asarray(x)))
    except KeyboardInterrupt:
        print(mill.sum([1, 2]), flush=True)
"""


def test_ctrl_c_on_a_terminal_leaves_a_private_server_to_its_block() -> None:
    """A terminal sends the signal to every process of the group."""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + PRIVATE, ""], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "3\n"
    assert process.returncode == 0


CANCELLED = """
async def use():
    async with am.local(workers=1, arena="64MiB") as mill:
        await mill.sum([1])
        await asyncio.sleep(60)

async def main():
    for delay in (0, 0.01, 0.1, 0.3):
        task = asyncio.create_task(use())
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task
    print("ready", flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


def test_a_start_that_is_cancelled_leaves_no_server() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + CANCELLED, ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        _, left = psutil.wait_procs(psutil.Process(process.pid).children(recursive=True), timeout=5)
        assert left == []
        process.communicate("\n", timeout=30)
    assert process.returncode == 0
