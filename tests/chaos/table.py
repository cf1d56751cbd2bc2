"""The table of faults: what each row does, under what load, and how small it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.figures import Figures
from chaos.rows.cancels import cancels
from chaos.rows.clients import lost_clients
from chaos.rows.machine import odd_machine
from chaos.rows.network import broken_links
from chaos.rows.overload import overload, unfair_share
from chaos.rows.server import rolling_restarts, server_kills
from chaos.rows.soak import soak
from chaos.rows.workers import machine_memory, worker_deaths, worker_hangs, worker_memory

MIB: Final = 1 << 20


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    fault: str
    load: str
    run: Callable[..., Awaitable[Figures]]
    """Takes a seed; raises InvariantError, or NotHereError where the machine does not let us."""
    short: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments with which it takes seconds."""


ROWS: Final[Mapping[str, Row]] = {
    "deaths": Row(
        "500 worker deaths: KILL, SEGV, BUS, ABRT, exit; idle, receiving, computing, replying; a poison job",
        "300 jobs in flight, 8 clients, 64 KiB to 32 MiB",
        worker_deaths,
        {"deaths": 16, "jobs": 16, "clients": 4, "largest": 2 * MIB},
    ),
    "hangs": Row(
        "workers stopped, spinning in C, ignoring SIGTERM",
        "300 jobs in flight, 8 clients, deadlines of 8 s",
        worker_hangs,
        {"hangs": 3, "jobs": 12, "clients": 4, "largest": 2 * MIB, "timeout": 1.5},
    ),
    "worker-memory": Row(
        "workers that take memory without end, against RLIMIT_DATA",
        "300 jobs, 8 clients",
        worker_memory,
        {"greedy": 1, "jobs": 8, "clients": 2, "largest": 2 * MIB},
    ),
    "machine-memory": Row(
        "workers that take memory without end, against a control group of 768 MiB",
        "300 jobs, 8 clients",
        machine_memory,
        {"greedy": 1, "jobs": 8, "clients": 2, "largest": 2 * MIB},
    ),
    "server-kills": Row(
        "kill -9 of the server 50 times, at places of its own code and from outside",
        "steady, 8 clients that submit by key and compute",
        server_kills,
        {"kills": 2, "clients": 3, "in_flight": 2, "largest": MIB},
    ),
    "lost-clients": Row(
        "clients killed in mid-upload, silent behind a dropped link, trickling 1 byte/s",
        "100 uploads",
        lost_clients,
        {"uploads": 6, "stall": 1.0},
    ),
    "links": Row(
        "links cut, reset, half-closed, held, forgotten, slow, in crumbs",
        "50 jobs in flight, 4 clients",
        broken_links,
        {"faults": 6, "jobs": 8, "clients": 2, "largest": 2 * MIB, "ways": ("cut", "reset", "halved", "held")},
    ),
    "overload": Row(
        "10 × overload in waves",
        "open loop",
        overload,
        {"waves": 1, "seconds": 1.0},
    ),
    "fairness": Row(
        "one client at 50 × beside seven at 1 ×",
        "open loop",
        unfair_share,
        {"seconds": 1.0},
    ),
    "odd-machine": Row(
        "/dev/shm full after the start; the wall clock jumps by ±1 h; workers die",
        "100 jobs, and as many of a client with the same clock",
        odd_machine,
        {"jobs": 12, "jumps": 4, "clients": 2, "largest": 2 * MIB},
    ),
    "cancels": Row(
        "cancel of 200 running jobs: computing, hanging, receiving, sending, submitted",
        "8 at a time",
        cancels,
        {"jobs": 10, "share": 2},
    ),
    "restarts": Row(
        "30 rolling restarts",
        "steady, 4 clients",
        rolling_restarts,
        {"restarts": 1, "clients": 2, "largest": MIB},
    ),
    "soak": Row(
        "a fault every minute",
        "steady, 8 clients, half of them behind a proxy",
        soak,
        {"minutes": 0.05, "pause": 0.5, "clients": 1, "largest": 2 * MIB},
    ),
}
