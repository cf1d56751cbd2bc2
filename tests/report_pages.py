"""Reports of load tests as pages have to show them: full ones, long ones, and those in which nothing went well."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from arraymill.load._report import (
    FORMAT,
    PHASES,
    QUANTILES,
    Distribution,
    Generator,
    Part,
    Report,
    Second,
    Step,
    Verdict,
)

_PARTS: Final = ("sum 1MiB float64 auto", "sqrt 16KiB float32 frames", "mean 64MiB float64 bulk")


def distribution(middle: float, *, count: int = 100_000) -> Distribution:
    """Return durations with a long tail, around one of them."""

    def at(quantile: float) -> float:
        nines = -math.log10(max(1 - quantile, 0.5 / count))
        return middle * (0.55 + 0.45 * quantile + 0.35 * nines**2)

    places = [place / 100 for place in range(90)] + [1 - 10 ** -(1 + place / 8) for place in range(33)]
    return Distribution(
        count=count,
        mean=middle * 1.2,
        deviation=middle,
        minimum=at(0),
        maximum=at(1),
        quantiles={str(quantile): at(quantile) for quantile in QUANTILES},
        curve=[(quantile, at(quantile)) for quantile in [*places, 1.0]],
    )


def seconds(number: int, rate: float, middle: float, *, errors: Sequence[int] = (), seed: int = 1) -> list[Second]:
    """Return the course of a step, with a stall now and then."""
    chance = random.Random(seed)
    told: list[Second] = []
    for place in range(number):
        factor = math.exp(chance.gauss(0, 0.12)) * (6 if place % 97 == 31 else 1)
        jobs = max(0, round(rate * chance.uniform(0.96, 1.03)))
        told.append(
            Second(
                at=float(place),
                seconds=1.0,
                jobs=jobs,
                errors=12 if place in errors else 0,
                bytes=jobs * (1 << 17),
                p50=middle * factor,
                p99=middle * factor * chance.uniform(2.5, 4),
                maximum=middle * factor * chance.uniform(5, 12),
                server={
                    "running_jobs": float(round(6 * factor)),
                    "waiting_jobs": float(round(2 * factor)),
                    "connections": 64.0,
                    "arena_used_bytes": (80 + 20 * factor) * (1 << 20),
                    "shared_bytes": float(32 << 20),
                },
            )
        )
    return told


def step(rate: float | None = 2000.0, *, middle: float = 0.0021, number: int = 60, errors: int = 0) -> Step:
    """Return a step of a minute."""
    asked = rate or 2400.0
    jobs = round(asked * number)
    reasons = {"BusyError": errors, "DeadlineError": errors // 4} if errors else {}
    return Step(
        rate=rate,
        clients=64,
        seconds=float(number),
        jobs=jobs,
        errors=reasons,
        checked=jobs // 100,
        wrong=0,
        bytes=jobs << 17,
        jobs_per_second=asked * 0.997,
        bytes_per_second=asked * 0.997 * (1 << 17),
        latency=distribution(middle, count=jobs),
        service=distribution(middle * 0.8, count=jobs),
        phases={phase: distribution(middle * share) for phase, share in zip(PHASES, _SHARES, strict=True)},
        series=seconds(number, asked, middle, errors=(3, 4, 15, 45) if errors else ()),
        parts=[
            Part(
                name=name,
                jobs=jobs // 3,
                errors=reasons if place == 1 else {},
                bytes=jobs << 15,
                latency=distribution(middle * (1 + 2 * place), count=jobs // 3),
            )
            for place, name in enumerate(_PARTS)
        ],
        generator=Generator(
            processes=4,
            cpu_share=0.42,
            sent_per_second=rate,
            late=None if rate is None else distribution(0.0001),
            is_limit=False,
            reason="",
        ),
    )


_SHARES: Final = (0.1, 0.25, 0.3, 0.03, 0.12, 0.2)


def report(*steps: Step, title: str = "A mix of three, 2,000 jobs/s") -> Report:
    """Return a report of some steps; of one, if none is given."""
    return Report(
        format=FORMAT,
        arraymill="0.1.0",
        title=title,
        began="2026-03-01T09:30:00+00:00",
        server={
            "address": "localhost:50051",
            "version": "0.1.0",
            "workers": 4,
            "arena_bytes": 1 << 30,
            "numpy_version": "2.3.4",
        },
        machine={"cpus": 8, "python": "3.13.1", "numpy": "2.3.4"},
        plan={
            "mix": [{"operation": "sum", "size": "1MiB", "dtype": "float64", "weight": 2.0}, {"operation": "sqrt"}],
            "rate": 2000.0,
            "arrival": "poisson",
            "step_rate": [],
            "clients": 64,
            "processes": 4,
            "duration": 60.0,
            "count": None,
            "warm_up": 5.0,
            "timeout": 30.0,
            "fail_if": ["p99>50ms", "error-rate>0.1%"],
            "title": title,
        },
        steps=list(steps) or [step()],
        knee=None,
        verdicts=[
            Verdict(condition="p99>50ms", value=0.0097, is_met=False),
            Verdict(condition="error-rate>0.1%", value=0.0, is_met=False),
        ],
        ended="",
    )


def stepped() -> Report:
    """Return a run of rising rates whose last step is too much for server and load tester."""
    rates = {1000.0: 0.0012, 2000.0: 0.0014, 4000.0: 0.0021, 6000.0: 0.0048, 8000.0: 0.031}
    steps = [step(rate, middle=middle, number=20) for rate, middle in rates.items()]
    last = step(8000.0, middle=0.031, number=20, errors=900)
    reason = "its busiest process used 99 % of a core and sent 7,100 of 8,000 jobs/s: give it --processes 8"
    limit = replace(last.generator, is_limit=True, cpu_share=0.99, sent_per_second=7100.0, reason=reason)
    steps[-1] = replace(last, generator=limit, jobs_per_second=6420.0)
    failed = [
        Verdict(condition="p99>50ms", value=0.187, is_met=True),
        Verdict(condition="throughput<2000/s", value=5982.0, is_met=False),
    ]
    return replace(report(*steps, title="Where is the knee?"), knee=6000.0, verdicts=failed)


def hours() -> Report:
    """Return a run of four hours."""
    return replace(report(step(number=4 * 3600), title="Four hours"), verdicts=[])


def one_second() -> Report:
    """Return a run of one second, in a closed loop."""
    return report(step(None, number=1), title="One second")


def nothing() -> Report:
    """Return a run in which no job was sent, since the server was not there."""
    empty = replace(
        step(),
        jobs=0,
        checked=0,
        bytes=0,
        jobs_per_second=0.0,
        bytes_per_second=0.0,
        latency=None,
        service=None,
        phases={},
        series=[],
        parts=[],
    )
    return replace(report(empty, title="Nothing"), ended="the server was lost: connection refused")


def all_errors() -> Report:
    """Return a run in which every job failed."""
    course = [
        replace(each, jobs=0, errors=2000, bytes=0, p50=None, p99=None, maximum=None, server={})
        for each in seconds(20, 2000, 0.002)
    ]
    failed = replace(nothing().steps[0], errors={"BusyError": 40_000}, series=course)
    failed = replace(failed, parts=[Part(name=_PARTS[0], jobs=0, errors={"BusyError": 40_000}, bytes=0, latency=None)])
    met = Verdict(condition="error-rate>1%", value=1.0, is_met=True)
    return replace(report(failed, title="Only errors"), verdicts=[met])


def hostile() -> Report:
    """Return a report whose every text tries to leave its place in the page."""
    bad = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\u2028\ud800"
    share = Part(name=bad, jobs=1, errors={bad: 1}, bytes=1, latency=distribution(0.001, count=1))
    limit = replace(step().generator, is_limit=True, reason=bad)
    odd = replace(step(number=3), errors={bad: 3}, parts=[share], generator=limit)
    odd = replace(odd, series=[replace(each, server={bad: 1.0}) for each in odd.series])
    tree = {bad: bad, "nested": {bad: [bad, {bad: bad}]}}
    verdict = Verdict(condition=bad, value=1.0, is_met=True)
    return replace(
        report(odd, title=bad),
        began=bad,
        arraymill=bad,
        server=tree,
        machine=tree,
        plan=tree,
        verdicts=[verdict],
        ended=bad,
    )


def long_unbroken() -> Report:
    """Return a report with texts that have no place to break."""
    return replace(report(title="m" * 400), ended="e" * 400, plan={"k" * 200: "v" * 400})
