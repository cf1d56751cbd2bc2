"""The server of a run: a process with eyes inside it that can be killed and started again at the same address."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import psutil
from chaos.invariants import Belongings
from chaos.machine import Machine

import arraymill as am
from arraymill_server.testing.crash_points import CrashPoint
from arraymill_server.testing.observer import Observations

READY: Final = "arraymill ready:"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.02
HOST: Final = "127.0.0.1"

SEGMENT: Final = "/memfd:arraymill"
"""How the kernel calls memory that the server shares with clients."""

GRPC_THREAD: Final = "event_engine"
"""Name of the threads of gRPC's pool."""


class Site:
    """A server process and its folder.

    Args:
        folder: For orders, observations, logs and temporary files.
        options: Of the server's command.
        workers: Worker processes.
        arena: Shared memory.
        machine: Where it runs.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        workers: int = 2,
        arena: str = "128MiB",
        machine: Machine,
    ) -> None:
        self.folder = folder
        self._options = ("--workers", str(workers), "--arena", arena, "--log-format", "json", *options)
        self._machine = machine
        self._process: subprocess.Popen[str] | None = None
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        self.port = self.bulk_port = 0
        """Picked at the first start, and kept."""
        self.pids: set[int] = set()
        """Of every process that was ever seen of it."""
        self.observed = Observations(folder)
        """What the server has seen of itself since its first start."""

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def process(self) -> psutil.Process:
        """The server itself."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # ------------------------------------------------------------------ start and end

    async def start(self, crash: CrashPoint | None = None) -> None:
        """Start the server; returns when it is ready.

        Args:
            crash: Where it dies.

        Raises:
            RuntimeError: It does not start; the message has the end of its log.
        """
        self._process = self._launch(crash)
        stdout = self._process.stdout
        assert stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(stdout.readline), START_SECONDS)
        if not line.startswith(READY):
            code = await asyncio.to_thread(self._process.wait, STOP_SECONDS)
            raise RuntimeError(f"the server said {line!r} and ended with {code}: {self.log()}")
        self.port = int(line.split()[-1].rpartition(":")[2])
        if not self.bulk_port:
            async with am.AsyncClient(self.address) as mill:
                self.bulk_port = (await mill.info()).bulk_port
        self.family()

    async def roll(self) -> int:
        """Let a new server take over from this one, which ends; return the exit code of the old one."""
        old = self._process
        assert old is not None
        await self.start()
        old.send_signal(signal.SIGTERM)
        with old:
            return await asyncio.to_thread(old.wait, STOP_SECONDS)

    def _launch(self, crash: CrashPoint | None) -> subprocess.Popen[str]:
        command = [*self._machine.prefix, sys.executable, "-m", "arraymill_server.testing", *self._options]
        command += ["--listen", f"{HOST}:{self.port}", "--bulk-port", str(self.bulk_port), "--exit-on-stdin-eof"]
        doubles = {"ARRAYMILL_TESTING": str(self.folder), "TMPDIR": str(self._temporary)}
        if crash is not None:
            doubles["ARRAYMILL_CRASH"] = str(crash)
        with (self.folder / "server.log").open("a") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self._machine.environment, **doubles},
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the server by a signal; return its exit code."""
        assert self._process is not None
        if self.is_running:
            self._process.send_signal(number)
        with self._process as process:
            return await asyncio.to_thread(process.wait, STOP_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL to the server, if it still runs."""
        if self._process is not None:
            with self._process as process:
                process.kill()

    def tell(self) -> None:
        """Let the server write the stacks of its threads and tasks into its log."""
        assert self._process is not None
        for number in (signal.SIGUSR2, signal.SIGUSR1):
            self._process.send_signal(number)

    # ------------------------------------------------------------------ what it is and has

    def family(self) -> list[psutil.Process]:
        """Return the server and its descendants: fork server, resource tracker, workers."""
        with suppress(psutil.NoSuchProcess):
            found = [self.process, *self.process.children(recursive=True)]
            self.pids |= {process.pid for process in found}
            return found
        return []

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes: the children of the fork server."""
        with suppress(psutil.NoSuchProcess):
            return [worker for child in self.process.children() for worker in child.children()]
        return []

    def memory_bytes(self) -> int:
        """Return the memory of the whole family, and what it shares with clients; without the arena, see below."""
        return self.private_bytes() + self.shared_bytes()

    def private_bytes(self) -> int:
        """Return the memory that the processes of the family have for themselves.

        Without the arena, whose pages are all there from the start, and without pages of files: a family's part of
        Python's and NumPy's code grows when others on the machine end.
        """
        total = 0
        for process in self.family():
            with suppress(OSError):
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                total += sum(int(kib) << 10 for kib in re.findall(r"^Pss_Anon: +(\d+) kB$", rollup, re.M))
        return total

    def shared_bytes(self) -> int:
        """Return the bytes of all memory that the server shares with clients.

        It counts with its size: a page comes when somebody first uses it, and is shared out among those who have it
        mapped.
        """
        sizes: dict[int, int] = {}
        with suppress(OSError):  # it has ended
            for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # closed meanwhile
                    if str(path.readlink()).startswith(SEGMENT):
                        file = path.stat()
                        sizes[file.st_ino] = file.st_size
        return sum(sizes.values())

    async def belongings(self, info: am.ServerInfo) -> Belongings:
        """Return what the server and its family hold, as of a moment after this call.

        Raises:
            RuntimeError: The server does not look at itself any more.
        """
        now = monotonic()
        if not await until(lambda: any(look.at > now for look in self.observed()[-1:]), START_SECONDS):
            raise RuntimeError(f"the server has not looked at itself for {START_SECONDS:g} s")
        seen = self.observed()[-1]
        family = self.family()
        return Belongings(
            len(family),
            self.process.num_fds(),
            self.threads(),
            seen.tasks,
            len(seen.leases),
            info.arena_bytes - info.arena_free_bytes,
            frozenset(self.shared_files()),
            len(list(self._temporary.iterdir())),
        )

    def threads(self) -> int:
        """Return how many threads the server has, without those that gRPC starts and ends as it has work for them."""
        names = list[str]()
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/comm"):
            with suppress(OSError):  # ended meanwhile
                names.append(path.read_text().strip())
        return len(names) - names.count(GRPC_THREAD)

    def shared_files(self) -> list[str]:
        """Return the names in /dev/shm that bear the number of one of our processes."""
        marks = [f"-{pid}-" for pid in self.pids]
        return [path.name for path in Path("/dev/shm").iterdir() if any(mark in path.name for mark in marks)]

    def log(self, lines: int = 20) -> str:
        """Return the last lines of the server's log."""
        return "\n".join((self.folder / "server.log").read_text().splitlines()[-lines:])

    def events(self, name: str) -> list[dict[str, object]]:
        """Return the entries of one event in the server's log."""
        found = ((self.folder / "server.log").read_text()).splitlines()
        entries = [json.loads(line) for line in found if line.startswith("{") and line.endswith("}")]
        return [entry for entry in entries if entry.get("event") == name]


def grown(count: Callable[[], int]) -> Callable[[], bool]:
    """Return a function that tells whether a number is greater than it is now."""
    before = count()
    return lambda: count() > before


async def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds, at most so long; tell whether it does."""
    end = monotonic() + seconds
    while not holds():
        if monotonic() > end:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True
