"""The command `load`: a load test, its report, and the exit code that CI looks at."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from arraymill.cli._errors import InputError, MissingExtraError
from arraymill.cli._exit_codes import ExitCode
from arraymill.cli._options import OUTPUT, Settings, connected
from arraymill.cli._output import write_text
from arraymill.cli._session import TerminatedError, run_cancellable
from arraymill.cli._show import show_json

if TYPE_CHECKING:
    from arraymill.load._plan import Plan
    from arraymill.load._report import Report
    from arraymill.load._run import End, View

_REFRESHES: Final = 4
"""Of the live table, per second."""


@click.command()
@click.option("--plan", "file", type=click.Path(path_type=Path), metavar="FILE", help="TOML, of the same names.")
@click.option("--mix", metavar="MIX", help="What to send: 'sum:1MiB:float64:auto*3, sqrt:64KiB, (a*b).sum():1000x500'.")
@click.option("--clients", metavar="N", help="Clients, each with connections of its own. [default: 8]")
@click.option("--in-flight", metavar="N", help="Closed loop: jobs that each client has under way. [default: 1]")
@click.option("--rate", metavar="JOBS/S", help="Open loop: send at this rate, however the server is doing.")
@click.option("--arrival", metavar="HOW", help="Open loop: uniform or poisson. [default: uniform]")
@click.option(
    "--step-rate", metavar="A:B:STEP", help="Open loop: hold rates one after the other: 100:1000:100, or :x2."
)
@click.option("--duration", metavar="TIME", help="Of each step: 30s, 5min. [default: 10s]")
@click.option("--count", metavar="N", help="Jobs, instead of a duration.")
@click.option("--warm-up", metavar="TIME", help="Before the first step; does not count. [default: 2s]")
@click.option("--check", metavar="N", help="Compare every N-th answer with NumPy's; 0: none. [default: 100]")
@click.option("--processes", metavar="N", help="That send. [default: half of the cores, at most 4]")
@click.option("--seed", metavar="N", help="Of arrays, arrivals and the order of the mix. [default: 0]")
@click.option("--title", metavar="TEXT", help="Of the report.")
@click.option("--fail-if", multiple=True, metavar="CONDITION", help="p99>50ms, errors>0, …: exit code 8. Repeatable.")
@click.option("-o", "--output", type=OUTPUT, help="Write the report as JSON.")
@click.option("--html", type=OUTPUT, help="Write the report as one HTML file.")
@connected
def load(settings: Settings, file: Path | None, output: Path | None, html: Path | None, **given: Any) -> None:
    """Send jobs from many clients, and measure how long the answers take.

    \b
    arraymill load --mix 'sum:1MiB, sqrt:64KiB*3' --clients 32 --duration 30s
    arraymill load --mix sum:8KiB --rate 2000 --arrival poisson --fail-if 'p99>50ms' --fail-if 'errors>0'
    arraymill load --mix sum:1MiB --step-rate 100:3200:x2 -o knee.json --html knee.html

    Without a rate each client sends its next job when it has its answer (closed loop). With one, jobs are sent at times
    that were fixed before (open loop), and latency counts from these: a stall counts for all who had to wait for it.

    A job may take 30 s (--timeout). Errors do not end the run; it ends early when the server is silent for 10 s. The
    report is written in any case.

    \b
    Exit codes, the first of these that is so:
      2, 3, 7   an option or a file is wrong, a package is missing: nothing was sent; or 3: a file cannot be written
      130, 143  Ctrl-C, SIGTERM
      4         no server at the begin, or none that answers for 10 s or at the end
      1         the generator could not hold the rate
      8         a condition of --fail-if holds
      1         an answer is wrong, or no job ended well
      0         else, also when some jobs failed
    """
    if find_spec("hdrh") is None:
        raise MissingExtraError("the load tester", "hdrhistogram", "load")
    from arraymill.load._run import Run  # noqa: PLC0415  # needs the packages of the extra

    options = {key: value for key, value in given.items() if value not in (None, ())}
    if settings.timeout is not None:
        options["timeout"] = settings.timeout
    if output is not None and html is not None and output.resolve() == html.resolve():
        raise click.UsageError("-o and --html name the same file", click.get_current_context())
    plan = _read(file, options)

    async def measure() -> tuple[Report, End | None]:
        with _view(settings, plan) as view:
            run = Run(plan, settings.server, view)
            report = await run.run()
        write_report(report, output, html)  # here, where Ctrl-C waits until it is done
        _show(settings, report)
        return report, run.end

    _exit(*run_cancellable(measure))


def _read(file: Path | None, options: Mapping[str, object]) -> Plan:
    """Read the plan of a file and of options.

    Raises:
        InputError: The file is wrong.
        UsageError: An option is, as without the options all is well.
    """
    from arraymill.load._plan import read_file  # noqa: PLC0415

    told = {} if file is None else read_file(file)
    try:
        return _checked(told, options)
    except InputError as exc:
        without = {key: value for key, value in told.items() if key not in options}
        _checked({"mix": "sum", **without}, {})
        raise click.UsageError(str(exc), click.get_current_context()) from exc


def _checked(file: Mapping[str, object], options: Mapping[str, object]) -> Plan:
    from arraymill.load._plan import read_plan  # noqa: PLC0415
    from arraymill.load._work import check_entry  # noqa: PLC0415

    plan = read_plan(file, options)
    for entry in plan.mix:
        check_entry(entry)
    return plan


def write_report(report: Report, output: Path | None, html: Path | None) -> None:
    """Write a report to files.

    Raises:
        InputError: One cannot be written.
    """
    from arraymill.load._html import render  # noqa: PLC0415
    from arraymill.load._report import to_json  # noqa: PLC0415

    for path, write in ((output, to_json), (html, render)):
        if path is not None:
            write_text(path, write(report))


@contextmanager
def _view(settings: Settings, plan: Plan) -> Generator[View]:
    """Show the run: a table on a terminal, lines elsewhere, nothing where nobody wants it."""
    from arraymill.load._view import LiveView, PlainView, QuietView  # noqa: PLC0415

    if settings.quiet or settings.as_json:
        yield QuietView()
    elif not sys.stderr.isatty():
        yield PlainView()
    else:
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        with Live(console=Console(stderr=True), transient=True, refresh_per_second=_REFRESHES) as live:
            yield LiveView(live, plan)


def _show(settings: Settings, report: Report) -> None:
    from arraymill.load._document import plain  # noqa: PLC0415
    from arraymill.load._view import summary  # noqa: PLC0415

    if settings.as_json:
        show_json(plain(report))
    else:
        for line in summary(report):
            click.echo(line)


def _exit(report: Report, end: End | None) -> None:
    """End with the code of what went wrong, if anything did; the first of these counts."""
    from arraymill.load._run import End  # noqa: PLC0415

    if end is End.INTERRUPTED:
        raise KeyboardInterrupt
    if end is End.TERMINATED:
        raise TerminatedError
    if end is not None:
        reasons = [step.generator.reason for step in report.steps[-1:] if end is End.NOT_HELD]
        is_lost = end in (End.LOST, End.GONE)
        _fail(": ".join([end.value, *reasons]), ExitCode.CONNECTION if is_lost else ExitCode.FAILED)
    met = [verdict.condition for verdict in report.verdicts if verdict.is_met]
    if met:
        _fail(f"failed, as {', '.join(met)}", ExitCode.CONDITION)
    if any(step.wrong for step in report.steps):
        _fail("answers differ from NumPy's", ExitCode.FAILED)
    jobs, errors = sum(step.jobs for step in report.steps), sum(sum(step.errors.values()) for step in report.steps)
    if not jobs:
        _fail("no job ended well", ExitCode.FAILED)
    if errors > jobs:
        text = f"warning: {errors:,} of {jobs + errors:,} jobs failed; --fail-if 'error-rate>1%' makes a failure of it"
        click.echo(f"arraymill: {text}", err=True)


def _fail(line: str, code: ExitCode) -> NoReturn:
    click.echo(f"arraymill: {line}", err=True)
    raise click.exceptions.Exit(code)
