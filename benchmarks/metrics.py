"""What metrics cost: a server with an endpoint that is scraped every second, beside one without, in turn.

    python benchmarks/metrics.py [--rounds 15] [--seconds 1]

Each round loads both servers one after the other, in changing order, with sums of 1,000 elements, 64 in flight, and
with sums of 16 MiB, 4 in flight. Reports the medians, the median of the ratios of all rounds with the interval in which
it lies with a confidence of 95 %, and the processor time of the server for a job, which the rest of the machine
disturbs least. It takes a minute and a half, and fails when all of such an interval says that metrics cost over 2 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import threading
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

import arraymill as am
from suite.files import RESULTS
from suite.machine import Onlooker, facts, warning
from suite.processes import arraymill_command, server_process
from suite.statistics import median_interval, ratio_in_turn
from suite.usage import cpu_seconds

WORKERS: Final = 2
ARENA: Final = "256MiB"
SCRAPE_SECONDS: Final = 1.0

MOST_COST: Final = 0.02
"""Part of the throughput that metrics may take."""

WITHOUT: Final = "without"
WITH: Final = "with"


@dataclass(frozen=True, slots=True)
class Load:
    """What a server is loaded with."""

    name: str
    elements: int
    in_flight: int


LOADS: Final = (
    Load("sums of 1,000 elements, 64 in flight", 1000, 64),
    Load("sums of 16 MiB, 4 in flight", 1 << 21, 4),
)


@dataclass(slots=True)
class Server:
    """One of the two, and what it has done."""

    address: str
    pid: int
    rates: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Jobs per second of each round, by load."""
    jobs: dict[str, int] = field(default_factory=dict[str, int])
    cpu_seconds: dict[str, float] = field(default_factory=dict[str, float])


@contextmanager
def servers() -> Generator[dict[str, Server]]:
    """Start both; the one with an endpoint is scraped until the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listen = ("--metrics-listen", f"127.0.0.1:{port}")
    with ExitStack() as stack:
        made = {
            name: Server(*stack.enter_context(server_process(arraymill_command(WORKERS, ARENA, *more))))
            for name, more in ((WITHOUT, ()), (WITH, listen))
        }
        stack.enter_context(scraped(f"http://127.0.0.1:{port}/metrics"))
        yield made


@contextmanager
def scraped(url: str) -> Generator[None]:
    """Read a page every second, as Prometheus does."""
    over = threading.Event()
    request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    def scrape() -> None:
        while not over.wait(SCRAPE_SECONDS):
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def work(mill: am.AsyncClient, load: Load, seconds: float) -> tuple[int, float]:
    """Load a server for some seconds; return the jobs that ended, and the time that they took."""
    x = np.arange(load.elements, dtype=np.float64)
    expected, done = x.sum(), 0
    begin = time.perf_counter()

    async def one_after_the_other() -> None:
        nonlocal done
        while time.perf_counter() < begin + seconds:
            answer = await mill.sum(x)
            if answer != expected:
                raise SystemExit(f"{answer} instead of {expected}")
            done += 1

    await asyncio.gather(*(one_after_the_other() for _ in range(load.in_flight)))
    return done, time.perf_counter() - begin


async def measure(both: Mapping[str, Server], rounds: int, seconds: float) -> None:
    """Load the servers in turn, the other one first in every second round; the first round counts for nothing."""
    mills = {name: am.AsyncClient(server.address) for name, server in both.items()}
    for number in range(rounds + 1):
        for load in LOADS:
            for name in sorted(both, reverse=bool(number % 2)):
                server, before = both[name], cpu_seconds(both[name].pid)
                jobs, took = await work(mills[name], load, seconds)
                if number:
                    server.rates.setdefault(load.name, []).append(jobs / took)
                    server.jobs[load.name] = server.jobs.get(load.name, 0) + jobs
                    used = cpu_seconds(server.pid) - before
                    server.cpu_seconds[load.name] = server.cpu_seconds.get(load.name, 0.0) + used
    for mill in mills.values():
        await mill.close()


def figures(both: Mapping[str, Server]) -> list[dict[str, Any]]:
    """Return what was found for each load."""
    found: list[dict[str, Any]] = []
    for load in LOADS:
        rates = {name: server.rates[load.name] for name, server in both.items()}
        used = {name: server.cpu_seconds[load.name] / server.jobs[load.name] for name, server in both.items()}
        found.append(
            {
                "load": load.name,
                "jobs_per_second": {name: statistics.median(each) for name, each in rates.items()},
                "throughput": ratio_in_turn(rates[WITH], rates[WITHOUT]),
                "between": median_interval([a / b for a, b in zip(rates[WITH], rates[WITHOUT], strict=True)]),
                "server_cpu_us_per_job": {name: 1e6 * seconds for name, seconds in used.items()},
                "rounds": len(rates[WITH]),
            }
        )
    return found


def report(found: list[dict[str, Any]], machine: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    lines = ["### The cost of metrics: an endpoint scraped every second", ""]
    lines += [
        "| load | jobs/s without | jobs/s with | ratio in turn | between | server's CPU without | with |",
        "|---|" + "---|" * 6,
    ]
    for each in found:
        rates, used = each["jobs_per_second"], each["server_cpu_us_per_job"]
        lines.append(
            f"| {each['load']} | {rates[WITHOUT]:,.0f} | {rates[WITH]:,.0f} | {each['throughput']:.3f} "
            f"| {each['between'][0]:.3f} and {each['between'][1]:.3f} "
            f"| {used[WITHOUT]:.1f} µs a job | {used[WITH]:.1f} µs a job |"
        )
    return "\n".join([*lines, *([f"\n{warning(dict(machine))}"] if warning(dict(machine)) else []), ""])


def judged(found: list[dict[str, Any]]) -> str:
    """Return what the figures say of the bound: kept, broken, or nothing, where they are spread too much."""
    lines: list[str] = []
    for each in found:
        low, high = each["between"]
        if high < 1 - MOST_COST:
            verdict = f"they cost more than {MOST_COST:.0%}"
        elif low >= 1 - MOST_COST:
            verdict = f"they cost no more than {MOST_COST:.0%}"
        else:
            verdict = f"too noisy to tell whether they cost {MOST_COST:.0%}"
        lines.append(f"{each['load']}: {low:.3f} to {high:.3f} of the throughput with metrics; {verdict}")
    return "\n".join(lines)


def main() -> None:
    """Measure, write the results, and say when metrics cost too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load of each server in a round")
    options = parser.parse_args()
    onlooker = Onlooker()
    with servers() as both:
        asyncio.run(measure(both, options.rounds, options.seconds))
    found = figures(both)
    machine = {**facts(), "others_cores": onlooker.others_cores()}
    text = report(found, machine)
    print(text)
    (RESULTS / "local").mkdir(exist_ok=True)
    (RESULTS / "local" / "metrics.md").write_text(text)
    (RESULTS / "local" / "metrics.json").write_text(json.dumps({"machine": machine, "loads": found}, indent=1) + "\n")
    print(judged(found))
    if any(each["between"][1] < 1 - MOST_COST for each in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
