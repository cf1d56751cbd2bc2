"""A server from its configuration to its end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from arraymill_server.app.drain import EndableJobs, drained
from arraymill_server.app.exit_codes import ExitCode
from arraymill_server.app.malloc import GIVE_BACK_SECONDS, give_back_freed_memory
from arraymill_server.app.monitor import Monitor
from arraymill_server.app.sockets import ClaimedPath, beside, claim_sockets
from arraymill_server.app.stop import Stop
from arraymill_server.app.threads import begin_imports, start_threads
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.segments import Segments
from arraymill_server.config import OFF, ConfigError, ServerConfig
from arraymill_server.engine.base import Engine, EngineStartError
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.engine.processes import fork_server_beside
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.board import Board
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import SLOTS_PER_WORKER
from arraymill_server.listen import parse_address
from arraymill_server.log import get_logger
from arraymill_server.quantities import format_bytes
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.ports import Listener, leave, listeners, share, steer

if TYPE_CHECKING:
    from arraymill_server.rpc.bulk_listener import BulkListener
    from arraymill_server.rpc.memory_listener import MemoryListener
    from arraymill_server.rpc.server import RpcServer

READY: Final = "arraymill ready:"
"""What the one line on stdout begins with; the bound addresses follow."""

TELL_SECONDS: Final = 1.0
"""What clients get to hear the ends of their calls, before their connections are cut: some round trips."""

_log = get_logger(__name__)


class App:
    """All parts of a server, made in the order in which they need each other.

    Args:
        config: The configuration.
        on_defect: Called when a part has failed without which the server should not go on.
        block_elements: Most elements of a block; for tests of the merge paths.
    """

    def __init__(
        self, config: ServerConfig, on_defect: Callable[[], None], *, block_elements: int | None = None
    ) -> None:
        self._config = config
        self._on_defect = on_defect
        self.arena = Arena.create(config.arena_bytes)
        self._segments = Segments(self.arena.space)
        self.engine: Engine = PoolEngine(
            self.arena.raw,
            config.workers,
            worker_memory_bytes=config.worker_memory_bytes,
            task_timeout_seconds=config.task_timeout_seconds,
            worker_tasks=config.worker_tasks,
            segments=self._segments,
        )
        self.residents = Residents(self.arena, config.resident_budget_bytes, config.resident_ttl_seconds)
        self.admission = Admission(self.arena, config.max_waiting_jobs)
        self.jobs = EndableJobs(
            self.arena,
            self.engine,
            self.admission,
            self.residents,
            slots=SLOTS_PER_WORKER * config.workers,
            block_elements=block_elements,
        )
        self.calls = Calls(config.max_streams)
        self.monitor = Monitor(self.arena, self.engine, self.jobs, self.residents, self.calls)
        self._board: Board | None = None
        self._sockets: list[ClaimedPath] = []
        self._bulk: BulkListener | None = None
        self._memory: MemoryListener | None = None
        self._rpc: RpcServer | None = None
        self._clocks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<App {self.jobs!r} {self.arena!r} {self.engine!r}>"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The bound addresses, once the server is started."""
        return () if self._rpc is None else tuple(map(str, self._rpc.bound))

    @property
    def bulk_port(self) -> int:
        """Where the bulk lane is; 0 for nowhere."""
        return 0 if self._bulk is None else self._bulk.port

    async def start(self) -> None:
        """Start workers, then gRPC: it does not support a fork after its first object.

        Raises:
            EngineStartError: Workers end before they are ready.
            ConfigError: An address cannot be bound.
        """
        places = beside(self._config.addresses) if self._config.shared_memory_bytes else ()
        self._sockets = claim_sockets((*self._config.addresses, *places), take_over=self._config.take_over)
        drafts = {str(claim.path): claim.draft for claim in self._sockets}
        self.monitor.listen(self._config.metrics_address, is_shared=self._config.take_over)
        await self.engine.start()
        start_threads()
        from arraymill_server.rpc.server import RpcServer  # noqa: PLC0415  (workers must be forked before)
        from arraymill_server.rpc.servicer import Servicer  # noqa: PLC0415
        from arraymill_server.rpc.status import declared  # noqa: PLC0415
        from arraymill_server.rpc.submitted import SubmittedServicer  # noqa: PLC0415

        self._open_lanes({place.path: drafts[place.path] for place in places})
        self._board = Board(
            self.jobs,
            self.admission,
            self.residents,
            declare=partial(declared, method="SubmitJob"),
            max_per_client=self._config.max_client_jobs,
        )
        submitted = SubmittedServicer(self._board, self.residents, self._config.stall_seconds, self.calls)
        servicer = Servicer(
            self.jobs,
            self.residents,
            self.arena,
            self.engine,
            calls=self.calls,
            stall_seconds=self._config.stall_seconds,
            submitted=submitted,
            bulk=self._bulk,
            memory=self._memory,
        )
        self._rpc = RpcServer(
            servicer,
            submitted,
            self.calls,
            self._config.addresses,
            drafts,
            bulk_port=self.bulk_port,
            take_over=self._config.take_over,
        )
        self.monitor.connections = servicer.connections
        await self._rpc.start()
        self._publish()
        self.monitor.serve()
        for work in (self._expire(), _give_back(), self.monitor.watch()):
            clock = asyncio.create_task(work)
            clock.add_done_callback(self._clock_ended)
            self._clocks.append(clock)

    def _open_lanes(self, memory_drafts: Mapping[str, Path]) -> None:
        """Listen for what travels beside gRPC."""
        from arraymill_server.rpc.bulk_listener import BulkListener  # noqa: PLC0415
        from arraymill_server.rpc.memory_listener import MemoryListener  # noqa: PLC0415
        from arraymill_server.rpc.shared import Budget  # noqa: PLC0415

        config = self._config
        if config.bulk_port != OFF:
            self._bulk = BulkListener.open(config.addresses, config.bulk_port, take_over=config.take_over)
        if config.shared_memory_bytes:
            budget = self.monitor.budget = Budget(self._segments, config.shared_memory_bytes)
            self._memory = MemoryListener.open(memory_drafts, budget)

    def _publish(self) -> None:
        """Get the clients of all addresses, also those of a server before us; a next one may do the same."""
        for claim in self._sockets:
            claim.publish()
        mine = self._listeners(self.monitor.port)
        share(mine)
        if self._config.take_over and (others := steer(mine)):
            _log.info("taking over ports: stop the server that listens there as well", sockets=others)

    def _listeners(self, *others: int) -> list[Listener]:
        bound = () if self._rpc is None else self._rpc.bound
        return listeners({*(address.port for address in bound), self.bulk_port, *others} - {0})

    async def stop(self, grace_seconds: float, hurry: asyncio.Event) -> bool:
        """Stop in this order; every step is taken, whatever becomes of those before. To be called once.

        Args:
            grace_seconds: What running jobs get to end.
            hurry: Ends the grace when it is set.

        Returns:
            True when no step failed. A failure is in the log.
        """
        steps = [
            # 1. No new work; health says NOT_SERVING; new connections go to the server that has taken over.
            await _taken("close", self._close()),
            # 2. Jobs end, and clients fetch results, until the grace is over: then jobs are ended.
            await _taken("drain", self._drain(grace_seconds, hurry)),
            # 3. Whoever still waits is told that nothing comes any more; then connections are cut.
            await _taken("stop gRPC", self._stop_rpc()),
            # 4. Nobody needs these any more.
            await _taken("close the board", self._close_board()),
            await _taken("close the bulk lane", self._close_bulk()),
            await _taken("close the same-host lane", self._close_memory()),
            await _taken("end the clocks", self._end_clocks()),
            await _taken("close the metrics", self.monitor.close()),
            # 5. Workers end last: jobs that were ended have waited for their running tasks.
            await _taken("end the workers", self.engine.close()),
            # 6. Only now may another server take the paths of our sockets unasked.
            await _taken("release the sockets", self._release_sockets()),
        ]
        return all(steps)

    async def _close(self) -> None:
        if self._rpc is not None:
            self._rpc.close()
            leave(self._listeners())
            await self.monitor.leave()

    async def _drain(self, grace_seconds: float, hurry: asyncio.Event) -> None:
        draining = asyncio.ensure_future(drained(self.jobs, self.calls))
        hurried = asyncio.ensure_future(hurry.wait())
        waits: set[asyncio.Future[Any]] = {draining, hurried}
        await asyncio.wait(waits, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        self.jobs.end()
        if not draining.cancelled():
            draining.result()

    async def _stop_rpc(self) -> None:
        if self._rpc is not None:
            await self._rpc.stop(TELL_SECONDS)

    async def _close_board(self) -> None:
        if self._board is not None:
            await self._board.close()

    async def _close_bulk(self) -> None:
        if self._bulk is not None:
            await self._bulk.close()

    async def _close_memory(self) -> None:
        if self._memory is not None:
            await self._memory.close()

    async def _end_clocks(self) -> None:
        for clock in self._clocks:
            clock.cancel()
        await asyncio.gather(*self._clocks, return_exceptions=True)

    async def _release_sockets(self) -> None:
        while self._sockets:
            self._sockets.pop().release()

    async def _expire(self) -> None:
        """Delete resident arrays when their time is over; sleeps until the next one."""
        changed = asyncio.Event()
        self.residents.on_commit = changed.set
        while True:
            changed.clear()
            self.residents.expire(monotonic())
            due = self.residents.next_expiry()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - monotonic())):
                    await changed.wait()

    def _clock_ended(self, clock: asyncio.Task[None]) -> None:
        """Stop a server that can no longer delete or give back what is over: it would fill up."""
        if not clock.cancelled() and (error := clock.exception()) is not None:
            _log.error("a clock failed", exc_info=error)
            self._on_defect()


async def _give_back() -> None:
    while True:
        await asyncio.sleep(GIVE_BACK_SECONDS)
        await asyncio.to_thread(give_back_freed_memory)


async def _taken(step: str, work: Awaitable[None]) -> bool:
    """Take a step of the shutdown; True when it did not fail."""
    try:
        await work
    except Exception:
        _log.exception("a step of the shutdown failed", step=step)
        return False
    return True


async def serve(config: ServerConfig, *, exit_on_stdin_eof: bool = False) -> ExitCode:
    """Run a server until it is told to stop.

    Prints one line with the bound addresses when it is ready. SIGTERM and SIGINT stop it after the running jobs have
    ended, at most `config.drain_seconds` later; a second signal stops it at once.

    Args:
        config: The configuration.
        exit_on_stdin_eof: Stop at once when standard input ends: the parent has died.
    """
    begin = monotonic()
    stop = Stop(config.drain_seconds, watch_stdin=exit_on_stdin_eof)
    app: App | None = None
    code = ExitCode.OK
    parts = ExitStack()
    try:
        parts.enter_context(fork_server_beside())
        begin_imports()
        app = App(config, stop.defect)
        await app.start()
        print(READY, *app.addresses, flush=True)
        _log.info(
            "ready",
            addresses=app.addresses,
            bulk_port=app.bulk_port,
            metrics=app.monitor.address or "off",
            workers=config.workers,
            arena=format_bytes(config.arena_bytes),
            seconds=round(monotonic() - begin, 3),
        )
        _warn_of_strangers(app.addresses)
        await stop.asked.wait()
        _log.info("stopping", reason=stop.reason, jobs=app.jobs.running)
    except ConfigError as error:
        print(f"arraymill: {error}", file=sys.stderr)
        code = ExitCode.CONFIG
    except EngineStartError as error:
        print(f"arraymill: {error}", file=sys.stderr)
        code = ExitCode.NO_WORKERS
    finally:
        is_clean = app is None or await app.stop(config.drain_seconds, stop.hurry)
        parts.close()
        stop.close()
    return code or (ExitCode.OK if is_clean and not stop.is_defect else ExitCode.FAILED)


def _warn_of_strangers(addresses: Sequence[str]) -> None:
    reachable = [text for text in addresses if not parse_address(text).is_local]
    if reachable:
        _log.warning(
            "other machines may reach this server, which asks nobody for a password: "
            "whoever does can compute here, read every kept array and delete it",
            addresses=reachable,
        )
