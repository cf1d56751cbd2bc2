"""One run against one server: what it starts from, what watches it, and what must hold when it is over.

async with trial(Plan(seed)) as run:
    ...                                     # faults under load
    run.figures["deaths"] = "500"
# healed, drained, compared with how it began: InvariantError tells what does not hold
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

import numpy as np
import psutil
from chaos.figures import Figures, percentile
from chaos.invariants import LATE_SECONDS, Belongings, InvariantError, of_calls, of_stories
from chaos.ledger import Ledger
from chaos.load import CONNECT_SECONDS, Bystander, Load
from chaos.machine import Machine
from chaos.site import HOST, Site

import arraymill as am
from arraymill_server.testing.observer import stories
from arraymill_server.testing.orders import OrderBook
from arraymill_server.testing.proxy import Proxy
from arraymill_server.testing.stacks import task_stacks

PROXY_HOST: Final = "127.0.0.2"

DRAIN_SECONDS: Final = 60.0
"""From the end of the load until no job is left and everything is back."""

TELL_SECONDS: Final = 2.0
"""What a server gets to write its stacks."""

WARM_UP_BYTES: Final = 8 << 20
"""Enough for the bulk lane and every worker."""

LAG_SECONDS: Final = 0.05
"""What the 99th percentile of the event loop's lag may be."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is like."""

    seed: int
    """All that is random follows from it."""
    limit: float
    """Seconds after which the run hangs."""
    options: tuple[str, ...] = ()
    """Of the server's command."""
    workers: int = 2
    arena: str = "128MiB"
    machine: Machine = field(default_factory=Machine)
    retry_for: float = 30.0
    """Seconds for which clients try again what failed; the default is theirs."""
    bystander_retries_for: float = 30.0
    """The same of the client that has nothing to do with the fault, and what each of its calls may take."""
    is_strict: bool = True
    """Hold times to their bounds too; other programs on the machine make them longer."""
    has_bystander: bool = True


class Trial:
    """A server, its ledgers, and what to hold it to: see `trial`."""

    def __init__(self, plan: Plan, site: Site, stack: AsyncExitStack) -> None:
        self.plan = plan
        self.site = site
        self.random = Random(plan.seed)
        self.figures: Figures = {}
        self.ledger = Ledger()
        """Of the clients under fire."""
        self.complaints: list[str] = []
        """What a row has found, beside the invariants."""
        self.bystander = Ledger()
        self._stack = stack
        self.book = stack.enter_context(OrderBook(site.folder))
        self._begin = monotonic()
        self._before: Belongings | None = None
        self._proxies: list[Proxy] = []

    def too_slow(self, complaint: str) -> None:
        """Complain of a time that is beyond its bound, where that counts."""
        if self.plan.is_strict:
            self.complaints.append(f"too slow: {complaint}")

    # ------------------------------------------------------------------ clients

    async def proxy(self, host: str = PROXY_HOST) -> Proxy:
        """Return a network between the server and clients, who find the server at its ports of that host."""
        proxy = Proxy(HOST, host, (self.site.port, self.site.bulk_port))
        self._proxies.append(await self._stack.enter_async_context(proxy))
        return proxy

    def address(self, host: str = PROXY_HOST) -> str:
        """Return the server's address behind a proxy."""
        return f"{host}:{self.site.port}"

    def client(self, address: str | None = None) -> am.AsyncClient:
        """Return a client of the server, past the proxy unless told otherwise: there it shares memory with it."""
        address = address or self.site.address
        is_past = address == self.site.address
        return am.AsyncClient(address, connect_timeout=CONNECT_SECONDS, retry_for=self.plan.retry_for, shared=is_past)

    async def run_clients(
        self, load: Load, numbers: Iterable[int], clients: int = 1, address: str | None = None
    ) -> None:
        """Run jobs through some clients at once."""
        shares = list(numbers)

        async def one(share: Sequence[int]) -> None:
            async with self.client(address) as mill:
                await load.run(mill, share, self.ledger)

        await asyncio.gather(*(one(shares[place::clients]) for place in range(clients)))

    # ------------------------------------------------------------------ before and during

    async def begin(self) -> None:
        """Let the server make what it makes once, and note what it has."""
        x = np.ones(WARM_UP_BYTES // 8)
        async with self.client() as mill:
            await asyncio.gather(*(mill.sum(x) for _ in range(8)), *(mill.sum(x[:100]) for _ in range(8)))
            job = await mill.submit(am.asarray(x) + 1)
            await job.result()
            await job.delete()
        self._before = await self._belongings()

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Let the body run, with a bystander beside it; a body that hangs fails with everybody's stacks.

        Raises:
            InvariantError: It took longer than the limit.
        """
        watching = asyncio.ensure_future(self._bystand())
        telling = asyncio.get_running_loop().call_later(self.plan.limit, self._tell)
        try:
            async with asyncio.timeout(self.plan.limit + TELL_SECONDS):
                yield
        except TimeoutError as exc:
            complaint = f"hangs: it was not done after {self.plan.limit:g} s (the stacks are above)"
            raise InvariantError([complaint], self.figures) from exc
        finally:
            telling.cancel()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _tell(self) -> None:
        """Write where everybody stands, before anybody is cancelled."""
        print(task_stacks(), file=sys.stderr)
        self.site.tell()
        asyncio.get_running_loop().call_later(TELL_SECONDS / 2, lambda: print(self.site.log(200), file=sys.stderr))

    async def _bystand(self) -> None:
        if self.plan.has_bystander:
            await Bystander(self.site.address, self.bystander, retry_for=self.plan.bystander_retries_for).run()

    async def _belongings(self) -> Belongings:
        async with self.client() as mill:
            info = await mill.info()
        return await self.site.belongings(info)

    # ------------------------------------------------------------------ after

    async def judge(self) -> None:
        """Heal, drain, and compare with the beginning.

        Raises:
            InvariantError: Something does not hold.
        """
        self.book.withdraw()
        for proxy in self._proxies:
            proxy.release()
            proxy.cut()
        self._lag()
        slack = LATE_SECONDS if self.plan.is_strict else 10 * LATE_SECONDS
        complaints = [
            *self.complaints,
            *await self._drain(),
            *of_calls(self.ledger.calls, self.site.pids, slack),
            *(f"bystander: {complaint}" for complaint in of_calls(self.bystander.calls, self.site.pids, slack)),
            *of_stories(stories(self.site.folder)),
        ]
        if complaints:
            raise InvariantError(complaints, self.figures)

    async def _drain(self) -> list[str]:
        """Let every job end and delete all that is kept; tell what is left beyond the beginning."""
        assert self._before is not None
        gc.collect()  # a failed call and its error refer to each other, and keep the connection of a closed client
        end = monotonic() + DRAIN_SECONDS
        left: list[str] = []
        while monotonic() < end:
            try:
                left = await self._sweep() or (await self._belongings()).beyond(self._before)
            except am.ConnectionFailedError as error:
                left = [f"the server does not answer: {error}"]
            if not left:
                break
            await asyncio.sleep(0.2)
        return left

    async def _sweep(self) -> list[str]:
        """Delete jobs that have ended and arrays that are kept; tell what has not ended."""
        async with self.client() as mill:
            jobs = await mill.jobs()
            for job in jobs:
                if job.has_ended:
                    with suppress(am.JobNotFoundError):
                        await (await mill.job(job.id)).delete()
            for array in await mill.list():
                with suppress(am.ArrayNotFoundError):
                    await mill.delete(array.id)
            info = await mill.info()
        left = [f"no end: job {job.id} ({job.key}) is {job.state}" for job in jobs if not job.has_ended]
        if info.running_jobs or info.waiting_jobs:
            left.append(f"no end: {info.running_jobs} jobs run and {info.waiting_jobs} wait")
        return left

    def _lag(self) -> None:
        p99 = percentile((lag for look in self.site.observed() if look.at > self._begin for lag in look.lags), 99)
        self.figures["loop lag"] = f"p99 {1000 * p99:.1f} ms"
        if p99 > LAG_SECONDS:
            self.too_slow(f"the event loop was {1000 * p99:.1f} ms late at the 99th percentile")


@asynccontextmanager
async def site_of(plan: Plan) -> AsyncGenerator[Site]:
    """Start a server; stop it afterwards, when it must leave nothing.

    Raises:
        InvariantError: It leaves something, or did not end well.
    """
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, OrderBook(Path(name)):
        site = Site(Path(name), *plan.options, workers=plan.workers, arena=plan.arena, machine=plan.machine)
        try:
            await site.start()
            yield site
            if complaints := await _ended(site):
                raise InvariantError(complaints)
        finally:
            site.kill()


async def _ended(site: Site) -> list[str]:
    family = site.family()
    code = await site.stop()
    complaints = [] if code == 0 else [f"the server ended with exit code {code}: {site.log(5)}"]
    complaints += [f"left behind: process {process.pid}" for process in family if is_alive(process)]
    return complaints + [f"left behind: /dev/shm/{name}" for name in site.shared_files()]


@asynccontextmanager
async def trial(plan: Plan, site: Site | None = None) -> AsyncGenerator[Trial]:
    """Run the body against a server, and hold both to the invariants.

    Args:
        plan: What it is like.
        site: A server that stays; None: one of its own.

    Raises:
        InvariantError: Something does not hold.
    """
    async with AsyncExitStack() as stack:
        if site is None:
            site = await stack.enter_async_context(site_of(plan))
        run = Trial(plan, site, stack)
        await run.begin()
        async with run.watched():
            yield run
        await run.judge()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie is dead, whoever has inherited it has not asked for its exit code yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
