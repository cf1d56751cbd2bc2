"""What tells of a server: the reading of all its metrics, the clock of its event loop, and where Prometheus asks."""

from __future__ import annotations

import asyncio
import platform
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Final

import numpy as np

from arraymill_proto.errors import Reason
from arraymill_server.arena.arena import Arena
from arraymill_server.config import ConfigError
from arraymill_server.engine.base import Engine
from arraymill_server.engine.death import Ending
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.listen import Address
from arraymill_server.log import get_logger
from arraymill_server.metrics.families import Labels, Reading, UnreadableError, Value
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.ports import are_shared, listeners

if TYPE_CHECKING:
    from arraymill_server.metrics.endpoint import Endpoint
    from arraymill_server.rpc.connections import Connections
    from arraymill_server.rpc.shared import Budget

LAG_SECONDS: Final = 0.25
"""How often the event loop's clock is looked at while there are jobs: 20 µs each time, 0.01 % of a core; six times as
much on a machine that is busy otherwise."""

IDLE_LAG_SECONDS: Final = 2.0
"""The same while there are none: an idle server stays idle."""

READ_SECONDS: Final = 5.0
"""What the event loop may take to answer a scrape. One that takes longer is not well, and the scrape fails."""

CAUSES: Final = tuple(ending.value for ending in Ending if ending is not Ending.CLOSED)
"""Why workers are replaced."""

_log = get_logger(__name__)


class Monitor:
    """Tells of one server.

    Args:
        arena: Of the server, as all that follows.
        engine: Likewise.
        jobs: Likewise.
        residents: Likewise.
        calls: With its counts.
    """

    def __init__(self, arena: Arena, engine: Engine, jobs: Jobs, residents: Residents, calls: Calls) -> None:
        self._arena = arena
        self._engine = engine
        self._jobs = jobs
        self._residents = residents
        self._calls = calls
        self._versions = version("arraymill"), platform.python_version(), np.__version__
        self._loop: asyncio.AbstractEventLoop | None = None
        self._endpoint: Endpoint | None = None
        self._host = ""
        self._lock = threading.Lock()
        self._reading: Future[Reading] | None = None
        """The last one that was asked for: whoever asks while it is under way shares it."""
        self._ended = 0
        """Jobs that had ended when the clock was last looked at."""
        self.budget: Budget | None = None
        """What is shared with clients; None: nothing."""
        self.connections: Connections | None = None
        """Counts them, once it is known where they come."""

    def __repr__(self) -> str:
        return f"<Monitor {self._calls.counts!r}, {self._endpoint!r}>"

    @property
    def port(self) -> int:
        """Where the metrics are; 0 for nowhere."""
        return 0 if self._endpoint is None else self._endpoint.port

    @property
    def address(self) -> str:
        """Where the metrics are, with the port that was picked; empty for nowhere."""
        return "" if self._endpoint is None else str(Address(host=self._host, port=self.port))

    def listen(self, address: Address | None, *, is_shared: bool) -> None:
        """Take the address; whoever asks there waits until `serve`. To be called in the event loop.

        Args:
            address: Where to; port 0 picks one. None: nowhere.
            is_shared: Listen where another server does, that is taken over.

        Raises:
            ConfigError: It cannot be taken.
        """
        if address is None:
            return
        from arraymill_server.metrics.collector import registry_of  # noqa: PLC0415  (50 ms of a start)
        from arraymill_server.metrics.endpoint import Endpoint  # noqa: PLC0415

        self._loop, registry = asyncio.get_running_loop(), registry_of(self._read)
        try:
            self._endpoint = Endpoint(address.host, address.port, registry, is_shared=is_shared)
            self._host = address.host
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {address} for metrics: {exc.strerror or exc}; choose another --metrics-listen"
            ) from exc

    def serve(self) -> None:
        """Answer whoever asks for the metrics."""
        if self._endpoint is not None:
            self._endpoint.serve()
            if not Address(host=self._host).is_local:
                _log.warning(
                    "other machines may reach the metrics, which ask nobody for a password: "
                    "whoever does can see how much is computed here",
                    address=self.address,
                )

    async def leave(self) -> None:
        """Answer nobody any more if another server listens at the same place: it tells of itself from now on."""
        if self._endpoint is not None and are_shared(listeners({self.port})):
            await self.close()

    async def close(self) -> None:
        """Answer nobody any more. Safe to call twice."""
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)

    async def watch(self) -> None:
        """Look for ever by how much the event loop is late."""
        while True:
            seconds = LAG_SECONDS if self._has_jobs() else IDLE_LAG_SECONDS
            due = monotonic() + seconds
            await asyncio.sleep(seconds)
            self._calls.counts.late(max(0.0, monotonic() - due))  # uvloop counts milliseconds: it may be early

    async def reading(self) -> Reading:
        """Return the values of all metrics, as they are in one turn of the event loop."""
        connections = 0 if self.connections is None else await self.connections.count()
        return {**self._counted(), **self._gauges(), "arraymill_connections": connections}

    # ------------------------------------------------------------------ inside

    def _has_jobs(self) -> bool:
        """Tell whether there are jobs now, or were since the last time."""
        before, self._ended = self._ended, sum(self._calls.counts.outcomes.values())
        return self._ended != before or self._jobs.running > 0 or self._jobs.waiting > 0

    def _read(self) -> Reading:
        """Return a reading, in another thread. A busy event loop has one at most to care for, however many ask."""
        assert self._loop is not None
        with self._lock:
            reading = self._reading
            if reading is None or reading.done():
                reading = self._reading = asyncio.run_coroutine_threadsafe(self.reading(), self._loop)
        try:
            return reading.result(READ_SECONDS)
        except TimeoutError as exc:
            raise UnreadableError(f"the server is busy: no answer within {READ_SECONDS:g} s") from exc

    def _counted(self) -> Reading:
        counts, status = self._calls.counts, self._engine.status
        restarts: dict[str, float] = {**dict.fromkeys(CAUSES, 0), **status.endings}
        restarts[Ending.RECYCLED.value] = status.recycled
        return {
            "arraymill_jobs_total": counts.jobs,
            "arraymill_job_duration_seconds": _labelled(counts.durations()),
            "arraymill_worker_restarts_total": _labelled(restarts),
            "arraymill_received_bytes_total": _labelled(counts.traffic.received),
            "arraymill_sent_bytes_total": _labelled(counts.traffic.sent),
            "arraymill_refusals_total": _labelled({reason.value: counts.refusals[reason] for reason in Reason}),
            "arraymill_event_loop_lag_seconds": counts.lag.copy(),
        }

    def _gauges(self) -> Reading:
        arena, calls, status = self._arena, self._calls, self._engine.status
        return {
            "arraymill_build_info": {self._versions: 1},
            "arraymill_jobs_running": self._jobs.running,
            "arraymill_jobs_waiting": self._jobs.waiting,
            "arraymill_arena_bytes": arena.size,
            "arraymill_arena_used_bytes": arena.leased,
            "arraymill_arena_reserved_bytes": arena.leased - arena.resident,
            "arraymill_arena_largest_free_bytes": arena.largest_free,
            "arraymill_resident_bytes": self._residents.used_bytes,
            "arraymill_resident_budget_bytes": self._residents.budget_bytes,
            "arraymill_shared_memory_bytes": self.budget.segments.nbytes if self.budget is not None else 0,
            "arraymill_shared_memory_budget_bytes": self.budget.nbytes if self.budget is not None else 0,
            "arraymill_workers": status.workers,
            "arraymill_workers_busy": status.busy,
            "arraymill_calls": _labelled(
                {"job": calls.jobs.held, "waiting": calls.waits.held, "feeding": calls.feeds.held}
            ),
        }


def _labelled(values: Mapping[str, Value]) -> dict[Labels, Value]:
    """Return the values of a family with one label."""
    return {(label,): value for label, value in values.items()}
