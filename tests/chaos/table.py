"""The table of faults: what each row does, under what load, and how small it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.figures import Figures
from chaos.machine import Machine, odd_machine, plain_machine, small_machine
from chaos.rows.cancels import cancels
from chaos.rows.clients import lost_clients
from chaos.rows.load import many_clients
from chaos.rows.machine import machine_tricks
from chaos.rows.network import broken_links
from chaos.rows.overload import PLACES, overload, unfair_share
from chaos.rows.server import rolling_restarts, server_kills
from chaos.rows.soak import soak
from chaos.rows.workers import greedy_workers, worker_deaths, worker_hangs
from chaos.site import Site
from chaos.trial import Plan, trial

MIB: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table."""

    fault: str
    load: str
    body: Callable[..., Awaitable[None]]
    """Takes a Trial."""
    short: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments with which it takes seconds."""
    options: tuple[str, ...] = ()
    """Of the server, in full and in short."""
    short_options: tuple[str, ...] = ()
    """In addition."""
    arena: str = "128MiB"
    machine: Callable[[], AbstractContextManager[Machine]] = plain_machine
    limit: float = 1800.0
    """Seconds after which it hangs."""
    retry_for: float = 30.0
    bystander_retries_for: float = 30.0
    shares_site: bool = False
    """A server of the default arena will do, whatever other options it has, and outlives it."""

    async def run(self, seed: int, *, is_short: bool = False, site: Site | None = None, **arguments: Any) -> Figures:
        """Run the row.

        Args:
            seed: All that is random follows from it.
            is_short: Small, and no times held to their bounds.
            site: A server that stays; None: one of its own.
            **arguments: Of the body, instead of its own.

        Raises:
            InvariantError: Something does not hold.
            NotHereError: This machine does not let us.
        """
        with self.machine() as machine:
            plan = Plan(
                seed=seed,
                limit=SHORT_LIMIT if is_short else self.limit,
                options=self.options + (self.short_options if is_short else ()),
                arena=self.arena,
                machine=machine,
                retry_for=self.retry_for,
                bystander_retries_for=self.bystander_retries_for,
                is_strict=not is_short,
            )
            async with trial(plan, site) as run:
                await self.body(run, **{**(self.short if is_short else {}), **arguments})
        return run.figures


SHORT_LIMIT: Final = 60.0

ROWS: Final[Mapping[str, Row]] = {
    "deaths": Row(
        fault="500 worker deaths: KILL, SEGV, BUS, ABRT, exit; idle, receiving, computing, replying; a poison job",
        load="300 jobs in flight, 8 clients, 64 KiB to 32 MiB",
        body=worker_deaths,
        short={"deaths": 8, "jobs": 12, "clients": 4, "largest": 2 * MIB},
        shares_site=True,
    ),
    "hangs": Row(
        fault="workers stopped, spinning in C, ignoring SIGTERM",
        load="300 jobs in flight, 8 clients, deadlines of 5 s",
        body=worker_hangs,
        short={"hangs": 2, "jobs": 8, "clients": 4, "largest": 2 * MIB, "timeout": 1.0},
        short_options=("--task-timeout", "2"),
        shares_site=True,
    ),
    "worker-memory": Row(
        fault="workers that take memory without end, against RLIMIT_DATA",
        load="300 jobs, 8 clients",
        body=greedy_workers,
        short={"greedy": 1, "jobs": 4, "clients": 2, "largest": 2 * MIB},
        options=("--worker-memory", "256MiB"),
        shares_site=True,
    ),
    "machine-memory": Row(
        fault="workers that take memory without end, against a control group of 768 MiB",
        load="300 jobs, 8 clients",
        body=greedy_workers,
        short={"greedy": 1, "jobs": 4, "clients": 2, "largest": 2 * MIB},
        options=("--worker-memory", "4GiB"),
        machine=small_machine,
    ),
    "server-kills": Row(
        fault="kill -9 of the server 50 times, at places of its own code and from outside",
        load="steady, 8 clients that submit by key and compute",
        body=server_kills,
        short={"kills": 1, "clients": 2, "in_flight": 1, "largest": MIB, "life": 0.5},
        retry_for=120.0,
        bystander_retries_for=120.0,  # a server lives for some 2 s and takes as long to be back
        shares_site=True,
    ),
    "lost-clients": Row(
        fault="clients killed in mid-upload, silent behind a dropped link, trickling 1 byte/s",
        load="100 uploads",
        body=lost_clients,
        short={"uploads": 3, "stall": 1.0},
        short_options=("--stall", "1"),
    ),
    "links": Row(
        fault="links cut, reset, half-closed, held, forgotten, slow, in crumbs",
        load="50 jobs in flight, 4 clients",
        body=broken_links,
        short={"faults": 4, "jobs": 8, "clients": 2, "largest": 2 * MIB, "ways": ("cut", "reset", "halved", "held")},
        limit=5400.0,
        retry_for=600.0,
        shares_site=True,
    ),
    "overload": Row(
        fault="10 × overload in waves",
        load=f"open loop, 4 processes; the server takes {PLACES} calls",
        body=overload,
        short={"waves": 1, "seconds": 0.4, "factor": 4.0, "steps": 3, "processes": 2},
        options=("--max-streams", str(PLACES)),
        arena="64MiB",
        shares_site=True,
    ),
    "fairness": Row(
        fault="one client at 50 × beside seven at 1 ×",
        load="open loop",
        body=unfair_share,
        short={"seconds": 0.25, "lights": 3, "factor": 10.0},
        shares_site=True,
    ),
    "odd-machine": Row(
        fault="/dev/shm full after the start; the wall clock jumps by ±1 h; workers die",
        load="100 jobs, and as many of a client with the same clock",
        body=machine_tricks,
        short={"jobs": 8, "jumps": 4, "clients": 2, "largest": 2 * MIB},
        machine=odd_machine,
    ),
    "cancels": Row(
        fault="cancel of 200 running jobs: computing, hanging, receiving, sending, submitted",
        load="8 at a time",
        body=cancels,
        short={"jobs": 10, "share": 2},
        shares_site=True,
    ),
    "restarts": Row(
        fault="30 rolling restarts",
        load="steady, 4 clients",
        body=rolling_restarts,
        short={"restarts": 1, "clients": 2, "in_flight": 1, "largest": MIB},
        options=("--take-over", "--drain", "30"),
        shares_site=True,
    ),
    "clients256": Row(
        fault="none: 256 clients at once for 5 minutes, driven by `arraymill load`",
        load="closed loop, 8 KiB to 1 MiB, small jobs, streams and shared memory",
        body=many_clients,
        short={"clients": 8, "seconds": 1.0, "warm_up": 0.0},
        shares_site=True,
    ),
    "soak": Row(
        fault="a fault every minute",
        load="steady, 8 clients, half of them behind a proxy",
        body=soak,
        short={"minutes": 0.02, "pause": 0.2, "clients": 1, "largest": 2 * MIB, "names": ("death", "cut", "poison")},
        limit=6 * 3600.0,
        retry_for=300.0,
        shares_site=True,
    ),
}

SHARED_OPTIONS: Final = tuple(
    option for row in ROWS.values() if row.shares_site for option in row.options + row.short_options
)
"""Of a server that short rows share."""
