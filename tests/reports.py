"""Reports for tests, as a run would make them."""

from __future__ import annotations

from arraymill.load._report import FORMAT, QUANTILES, Distribution, Generator, Part, Report, Second, Step, Verdict


def distribution(scale: float = 1.0) -> Distribution:
    """Return durations around some milliseconds."""
    quantiles = {f"{quantile:g}": scale * (0.001 + 0.01 * quantile**4) for quantile in QUANTILES}
    curve = [(place / 50, scale * (0.001 + 0.01 * (place / 50) ** 4)) for place in range(51)]
    return Distribution(
        count=1000,
        mean=0.004 * scale,
        deviation=0.001 * scale,
        minimum=0.001 * scale,
        maximum=0.011 * scale,
        quantiles=quantiles,
        curve=curve,
    )


def second(at: float, server: dict[str, float]) -> Second:
    return Second(
        at=at, seconds=1.0, jobs=100, errors=1, bytes=1 << 20, p50=0.002, p99=0.009, maximum=0.011, server=server
    )


def step(rate: float | None = 100.0, scale: float = 1.0, *, seconds: int = 10) -> Step:
    """Return a step of a run."""
    share = Part(
        name="sum 1MiB float64 auto", jobs=1000, errors={"BusyError": 3}, bytes=1 << 30, latency=distribution()
    )
    late = None if rate is None else distribution(0.01)
    generator = Generator(processes=2, cpu_share=0.25, sent_per_second=rate, late=late, is_limit=False, reason="")
    return Step(
        rate=rate,
        clients=8,
        seconds=float(seconds),
        jobs=1000,
        errors={"BusyError": 3},
        checked=10,
        wrong=0,
        bytes=1 << 30,
        jobs_per_second=100.0,
        bytes_per_second=float(1 << 27),
        latency=distribution(scale),
        service=distribution(scale / 2),
        phases={"queued": distribution(0.1), "computed": distribution(0.5)},
        series=[second(float(place), {"running_jobs": 3.0} if place % 2 else {}) for place in range(seconds)],
        parts=[share],
        generator=generator,
    )


def report(*steps: Step) -> Report:
    """Return a report of some steps, of one if none is given."""
    return Report(
        format=FORMAT,
        arraymill="0.1.0",
        title="a test",
        began="2026-01-01T00:00:00Z",
        server={"address": "localhost:50051", "version": "0.1.0", "workers": 2},
        machine={"cpus": 2},
        plan={"mix": "sum:1MiB"},
        steps=list(steps) or [step()],
        knee=None,
        verdicts=[Verdict(condition="p99>50ms", value=0.01, is_met=False)],
        ended="",
    )
