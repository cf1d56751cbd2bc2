"""A run as people see it: a line per second, or a small table on a terminal; and the summary at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from arraymill._quantities import bytes_text
from arraymill.load._figures import STAR, STAR_MEANS, TAIL_JOBS, knee_text, measured_text
from arraymill.load._gather import Seen
from arraymill.load._plan import Plan
from arraymill.load._report import Distribution, Report, Step

_SERVER: Final = ("running_jobs", "waiting_jobs", "busy_workers", "arena_used_bytes", "loop_lag_seconds")

MAX_WHOLE: Final = 2
"""Steps of which all is told; of more, a line each."""


class QuietView:
    """Shows nothing."""

    def step(self, number: int, rate: float | None) -> None:
        pass

    def show(self, seen: Seen, server: Mapping[str, float]) -> None:
        pass


class PlainView:
    """Writes a line per second to stderr."""

    def step(self, number: int, rate: float | None) -> None:
        if rate is not None:
            click.echo(f"step {number + 1}: {rate:g} jobs/s", err=True)

    def show(self, seen: Seen, server: Mapping[str, float]) -> None:
        click.echo(", ".join(text for _, text in _rows(seen, server)), err=True)


class LiveView:
    """Shows a table on the terminal's last lines.

    Args:
        live: Rich's display.
        plan: For the title.
    """

    def __init__(self, live: Any, plan: Plan) -> None:
        self._live = live
        self._plan = plan
        self._title = ""

    def step(self, number: int, rate: float | None) -> None:
        of = len(self._plan.rates)
        part = f"step {number + 1} of {of}, " if of > 1 else ""
        self._title = f"{part}{'closed loop' if rate is None else f'{rate:g} jobs/s'}, {self._plan.clients} clients"

    def show(self, seen: Seen, server: Mapping[str, float]) -> None:
        from rich.table import Table  # noqa: PLC0415  # loaded where it is seen

        table = Table(title=self._title, show_header=False, title_justify="left")
        for name, text in _rows(seen, server):
            table.add_row(name, text)
        self._live.update(table)


def _rows(seen: Seen, server: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    yield "time", "warming up" if seen.at < 0 else f"{int(seen.at)} s"
    yield "jobs", f"{seen.jobs:,} jobs, {seen.jobs_per_second:,.0f}/s, {bytes_text(seen.bytes_per_second)}/s"
    if seen.quantiles:
        p50, p99, longest = map(duration_text, seen.quantiles)
        yield "latency", f"p50 {p50}, p99 {p99}, max {longest}"
    if seen.errors:
        yield "errors", errors_text(seen.errors)
    if server:
        yield "server", ", ".join(_server_texts(server))


def _server_texts(server: Mapping[str, float]) -> Iterator[str]:
    yield f"{server['running_jobs']:g} run, {server['waiting_jobs']:g} wait, {server['busy_workers']:g} workers busy"
    yield f"arena {bytes_text(server['arena_used_bytes'])}"
    yield f"loop lag {duration_text(server['loop_lag_seconds'])}"


def errors_text(errors: Mapping[str, int]) -> str:
    """Return errors by reason: `12 ConnectionFailedError, 3 BusyError`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in errors.items())


def duration_text(seconds: float) -> str:
    """Return a duration to three digits: 12.3 µs, 4.56 ms, 7.89 s."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 99.5 else f"{seconds:.0f} s"


# ------------------------------------------------------------------ the summary


def summary(report: Report) -> list[str]:
    """Return what a report says, in lines."""
    of, lines = len(report.steps), list[str]()
    for number, step in enumerate(report.steps):
        lines += _step_lines(step, number, of) if of <= MAX_WHOLE else [_step_line(step)]
    if report.plan.get("step_rate") or report.knee is not None:
        knee = "below the first rate, or not found" if report.knee is None else knee_text(report)
        lines.append(f"knee          {knee}")
        limited = [step for step in report.steps if step.generator.is_limit] if of > MAX_WHOLE else []
        lines += [f"not counted   {step.rate or 0:g} jobs/s: {step.generator.reason}" for step in limited]
    for verdict in report.verdicts:
        word, holds = ("FAILED", "") if verdict.is_met else ("passed", "not ")
        lines.append(f"{word:<13} {holds}{verdict.condition}: {measured_text(verdict)} measured")
    if report.ended:
        lines.append(f"ended early   {report.ended}")
    return [*lines, *([STAR_MEANS] if any(_is_starred(step) for step in report.steps) else [])]


def _step_line(step: Step) -> str:
    latency = "" if step.latency is None else f", {_distribution_text(step.latency)}"
    errors = f", {errors_text(step.errors)}" if step.errors else ""
    limit = ", the generator is the limit" if step.generator.is_limit else ""
    return f"{step.rate or 0:>8g} jobs/s    {step.jobs_per_second:,.1f}/s{latency}{errors}{limit}"


def _step_lines(step: Step, number: int, of: int) -> Iterator[str]:
    load = "closed loop" if step.rate is None else f"{step.rate:g} jobs/s asked for"
    part = f"step {number + 1} of {of}: " if of > 1 else ""
    yield f"{part}{load}, {step.clients} clients, {step.seconds:.3g} s"
    bandwidth = bytes_text(step.bytes_per_second)
    yield f"jobs          {step.jobs:,}; {step.jobs_per_second:,.1f}/s were answered within the time, {bandwidth}/s"
    yield f"errors        {errors_text(step.errors) or 'none'}"
    if step.checked:
        yield f"checked       {step.checked:,} answers, {step.wrong or 'none'} wrong"
    if step.latency is not None:
        yield f"latency       {_distribution_text(step.latency)}"
    if step.rate is not None and step.service is not None:
        yield f"from sending  {_distribution_text(step.service)}"
    if step.phases:
        mean = ", ".join(f"{phase} {duration_text(told.mean)}" for phase, told in step.phases.items() if told.mean > 0)
        yield f"of that, mean {mean}"
    yield from _part_lines(step)
    share = f"{step.generator.cpu_share:.0%} of a core in the busiest of {step.generator.processes}"
    yield f"generator     {f'IT IS THE LIMIT: {step.generator.reason}' if step.generator.is_limit else share}"


def _part_lines(step: Step) -> Iterator[str]:
    if len(step.parts) < 2:
        return
    width = max(len(part.name) for part in step.parts)
    for part in step.parts:
        errors = f", {errors_text(part.errors)}" if part.errors else ""
        latency = f", {_distribution_text(part.latency, ('0.5', '0.99'))}" if part.latency else ""
        yield f"  {part.name:<{width}}  {part.jobs:,} jobs{errors}{latency}"


def _distribution_text(told: Distribution, quantiles: Sequence[str] = ("0.5", "0.9", "0.99", "0.999")) -> str:
    texts = [
        f"p{100 * float(quantile):g} {duration_text(told.quantiles[quantile])}{_star(told, quantile)}"
        for quantile in quantiles
        if quantile in told.quantiles
    ]
    return ", ".join([*texts, f"max {duration_text(told.maximum)}"])


def _is_starred(step: Step) -> bool:
    return step.latency is not None and any(_star(step.latency, quantile) for quantile in ("0.5", "0.999"))


def _star(told: Distribution, quantile: str) -> str:
    return STAR if told.count * (1 - float(quantile)) < TAIL_JOBS else ""
