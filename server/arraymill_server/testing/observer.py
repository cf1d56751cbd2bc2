"""What a server knows of itself and nobody else can see: the lag of its event loop, its leases, its tasks, its journal.

Written as JSON lines into a folder that the harness shares with the server.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from arraymill_server.app.server import App
from arraymill_server.jobs.life import JobEvent
from arraymill_server.jobs.storage import MemoryStorage
from arraymill_server.jobs.submitted import SubmittedJob

TICK_SECONDS: Final = 0.01
"""How often the loop's lag is measured."""

TICKS: Final = 10
"""Measurements in one line."""

OBSERVED: Final = "observed.jsonl"
JOURNAL: Final = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a server."""

    at: float
    """time.monotonic(), which all processes of a machine share."""
    lags: tuple[float, ...]
    """Seconds by which the loop was late, since the look before."""
    leases: tuple[str, ...]
    """Of jobs; resident arrays may stay."""
    tasks: int
    """Of asyncio, this observer's left out."""
    running: int
    waiting: int


class Observer:
    """Looks at a server from its own event loop.

    Args:
        app: Started.
        folder: Where to write.
    """

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self._path = folder / OBSERVED

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        with self._path.open("a", buffering=1) as file:
            while True:
                lags: list[float] = []
                for _ in range(TICKS):
                    due = loop.time() + TICK_SECONDS
                    await asyncio.sleep(TICK_SECONDS)
                    lags.append(round(max(0.0, loop.time() - due), 5))
                file.write(json.dumps(asdict(self._look(lags))) + "\n")

    def _look(self, lags: list[float]) -> Observation:
        leases = tuple(lease.owner for lease in self._app.arena.leases if not lease.is_resident)
        jobs = self._app.jobs
        tasks = len(asyncio.all_tasks()) - 1
        return Observation(monotonic(), tuple(lags), leases, tasks, jobs.running, jobs.waiting)


class JournalledStorage(MemoryStorage):
    """A storage that writes down what happens to jobs, so that a test can count executions.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / JOURNAL

    def add(self, job: SubmittedJob) -> None:
        super().add(job)
        self._write(job.id, "added", job.key)

    def note(self, event: JobEvent) -> None:
        super().note(event)
        self._write(event.job_id, f"{event.event} {event.detail}".strip())

    def _write(self, job: str, what: str, key: str = "") -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"life": os.getpid(), "job": job, "what": what, "key": key}) + "\n")


class Observations:
    """What a server observes, read as it comes.

    Args:
        folder: Of its `Observer`.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / OBSERVED
        self._read = 0
        self._looks: list[Observation] = []

    def __call__(self) -> list[Observation]:
        """Return all looks until now; a line that is being written is left for the next call."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        self._looks.append(_observation(line))
        return self._looks


def _observation(line: bytes) -> Observation:
    values: dict[str, Any] = json.loads(line)
    values["lags"], values["leases"] = tuple(values["lags"]), tuple(values["leases"])
    return Observation(**values)


def stories(folder: Path) -> dict[str, list[str]]:
    """Return what happened to the jobs of each key within the life of one server, as ``key@process``, in order."""
    keys: dict[str, str] = {}
    told: dict[str, list[str]] = {}
    for line in _lines(folder / JOURNAL):
        entry = json.loads(line)
        if entry["what"] == "added":
            keys[entry["job"]] = f"{entry['key']}@{entry['life']}" if entry["key"] else ""
        if name := keys.get(entry["job"]):
            told.setdefault(name, []).append(f"{entry['job']} {entry['what']}")
    return told


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
