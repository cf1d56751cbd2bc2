"""A server from its configuration to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from arraymill_server.app.exit_codes import ExitCode
from arraymill_server.app.sockets import ClaimedPath, claim_sockets
from arraymill_server.arena.arena import Arena
from arraymill_server.config import ConfigError, ServerConfig, format_bytes
from arraymill_server.engine.base import Engine, EngineStartError
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import SLOTS_PER_WORKER, Jobs
from arraymill_server.log import get_logger

if TYPE_CHECKING:
    from arraymill_server.rpc.server import RpcServer

READY: Final = "arraymill ready:"
"""What the one line on stdout begins with; the bound addresses follow."""

_log = get_logger(__name__)


class App:
    """All parts of a server, made in the order in which they need each other.

    Args:
        config: The configuration.
        block_elements: Most elements of a block; for tests of the merge paths.
    """

    def __init__(self, config: ServerConfig, *, block_elements: int | None = None) -> None:
        self._config = config
        self.arena = Arena.create(config.arena_bytes)
        self.engine: Engine = PoolEngine(
            self.arena.raw,
            config.workers,
            worker_memory_bytes=config.worker_memory_bytes,
            task_timeout_seconds=config.task_timeout_seconds,
        )
        self.residents = Residents(self.arena, config.resident_budget_bytes, config.resident_ttl_seconds)
        self.admission = Admission(self.arena, config.max_waiting_jobs)
        self.jobs = Jobs(
            self.arena,
            self.engine,
            self.admission,
            self.residents,
            slots=SLOTS_PER_WORKER * config.workers,
            block_elements=block_elements,
        )
        self._sockets: list[ClaimedPath] = []
        self._rpc: RpcServer | None = None
        self._expiry: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<App {self.jobs!r} {self.arena!r} {self.engine!r}>"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The bound addresses, once the server is started."""
        return () if self._rpc is None else tuple(map(str, self._rpc.bound))

    async def start(self) -> None:
        """Start workers, then gRPC: it does not support a fork after its first object.

        Raises:
            EngineStartError: Workers end before they are ready.
            ConfigError: An address cannot be bound.
        """
        self._sockets = claim_sockets(self._config.addresses)
        await self.engine.start()
        from arraymill_server.rpc.server import RpcServer  # noqa: PLC0415  (workers must be forked before)
        from arraymill_server.rpc.servicer import Servicer  # noqa: PLC0415

        servicer = Servicer(
            self.jobs,
            self.residents,
            self.arena,
            self.engine,
            max_calls=self._config.max_streams,
            stall_seconds=self._config.stall_seconds,
        )
        try:
            self._rpc = RpcServer(servicer, self._config.addresses)
        finally:
            for socket in self._sockets:
                socket.note_bound()
        await self._rpc.start()
        self._expiry = asyncio.ensure_future(self._expire())

    async def stop(self, grace_seconds: float) -> None:
        """Stop in this order; cancelling it during the drain is how a second signal hurries it.

        Args:
            grace_seconds: What running jobs get to end.
        """
        # 1. No new calls; health says NOT_SERVING; running jobs end, or are cancelled when the grace is over.
        if self._rpc is not None:
            await self._rpc.stop(grace_seconds)
        # 2. Nobody needs the clock of resident arrays any more.
        if self._expiry is not None:
            self._expiry.cancel()
            with suppress(asyncio.CancelledError):
                await self._expiry
        # 3. Workers end last: cancelled jobs have waited for their running tasks.
        await self.engine.close()
        # 4. Only now may another server take the paths of our sockets.
        while self._sockets:
            self._sockets.pop().release()

    async def _expire(self) -> None:
        """Delete resident arrays when their time is over; sleeps until the next one."""
        while True:
            changed = asyncio.Event()
            self.residents.on_commit = changed.set
            self.residents.expire(monotonic())
            due = self.residents.next_expiry()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - monotonic())):
                    await changed.wait()


async def serve(config: ServerConfig, *, exit_on_stdin_eof: bool = False) -> ExitCode:
    """Run a server until it is told to stop.

    Prints one line with the bound addresses when it is ready. SIGTERM and SIGINT stop it after the running jobs have
    ended, at most `config.drain_seconds` later; a second signal stops it at once.

    Args:
        config: The configuration.
        exit_on_stdin_eof: Stop at once when standard input ends: the parent has died.
    """
    begin = monotonic()
    stop = _Stop(config.drain_seconds, watch_stdin=exit_on_stdin_eof)
    app: App | None = None
    try:
        app = App(config)
        await app.start()
        print(READY, *app.addresses, flush=True)
        _log.info(
            "ready",
            addresses=app.addresses,
            workers=config.workers,
            arena=format_bytes(config.arena_bytes),
            seconds=round(monotonic() - begin, 3),
        )
        await stop.asked.wait()
        _log.info("stopping", reason=stop.reason, jobs=app.jobs.running)
    except ConfigError as error:
        print(f"arraymill: {error}", file=sys.stderr)
        return ExitCode.CONFIG
    except EngineStartError as error:
        print(f"arraymill: {error}", file=sys.stderr)
        return ExitCode.NO_WORKERS
    finally:
        if app is not None:
            await _hurried(app.stop, stop)
    return ExitCode.OK


class _Stop:
    """When to stop, and how fast."""

    def __init__(self, drain_seconds: float, *, watch_stdin: bool) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reason = ""
        self.drain_seconds = drain_seconds
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal, number.name)
        if watch_stdin:
            loop.add_reader(sys.stdin.fileno(), self._stdin, loop)

    def _signal(self, name: str) -> None:
        if self.asked.is_set():
            self.hurry.set()
        self.reason = self.reason or name
        self.asked.set()

    def _stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            self.reason = "parent ended"
            self.asked.set()
            self.hurry.set()


async def _hurried(stop_app: Callable[[float], Coroutine[None, None, None]], stop: _Stop) -> None:
    """Stop with the drain time; a second signal ends the wait."""
    draining = asyncio.ensure_future(stop_app(0.0 if stop.hurry.is_set() else stop.drain_seconds))
    hurry = asyncio.ensure_future(stop.hurry.wait())
    waits: list[asyncio.Future[Any]] = [draining, hurry]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not draining.done():
        await stop_app(0.0)
    await draining
