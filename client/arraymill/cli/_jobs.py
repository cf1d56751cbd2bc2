"""The commands of submitted jobs: `jobs`, `watch`, `cancel`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import click

from arraymill import AsyncClient, AsyncJob, JobState, JobStatus, Progress
from arraymill._job import progress_text
from arraymill._job_info import failure_of
from arraymill._submit import OWN_KEY
from arraymill.cli._arrays import array_document
from arraymill.cli._each import Outcomes, each_of, error_document, tell_outcomes
from arraymill.cli._errors import InputError
from arraymill.cli._options import OUTPUT, Settings, connected
from arraymill.cli._output import OutputFile
from arraymill.cli._progress import Report, progress_bar
from arraymill.cli._session import converse
from arraymill.cli._show import seconds_text, show_json, show_table

KEY_CHARS: Final = 24
"""Most of a key in the table: with the other columns it leaves a third of a terminal of 80 to the last."""


@click.command()
@connected
def jobs(settings: Settings) -> None:
    """List the submitted jobs, oldest first: those that wait or run, and those that have ended not long ago."""
    found = converse(settings, lambda mill: mill.jobs(timeout=settings.timeout))
    if settings.as_json:
        show_json([summary(status) for status in found])
    else:
        show_table(("id", "key", "priority", "age", "state"), [row(status) for status in found], fit=True)


def row(status: JobStatus) -> tuple[object, ...]:
    """Return a job as a line of the table."""
    return status.id, key_text(status), status.priority, seconds_text(status.age_seconds), progress_text(status)


def key_text(status: JobStatus) -> str:
    """Return the key of a job for a table; those that the client made up are of no interest."""
    key = "-" if status.key.startswith(OWN_KEY) else status.key or "-"
    return key if len(key) <= KEY_CHARS else f"{key[: KEY_CHARS - 1]}…"


def document(status: JobStatus) -> dict[str, Any]:
    """Return a job as JSON can say it."""
    return {**summary(status), "results": [array_document(info) for info in status.results]}


def summary(status: JobStatus) -> dict[str, Any]:
    """Return what a list tells of a job: everything but its results."""
    return {
        **{name: getattr(status, name) for name in _PLAIN},
        "error": None if status.error is None else error_document(status.error),
        "times": None if status.times is None else asdict(cast("Any", status.times)),
    }


_PLAIN: Final = (
    *("id", "key", "state", "priority", "age_seconds", "deadline_in_seconds", "position"),
    *("input_bytes", "received_bytes", "blocks_done", "blocks"),
    *("needed_bytes", "free_bytes", "result_count"),
)
"""The fields of a status that JSON can say as they are."""


@click.command()
@click.argument("id")
@click.option("-o", "--output", type=OUTPUT, help="Write its result to this .npy file.")
@connected
def watch(settings: Settings, id: str, output: Path | None) -> None:
    """Watch a submitted job until it has ended; the exit code tells how.

    Prints a line for every new state, with --json a document for every change, and twice a minute.
    """
    converse(settings, lambda mill: _watch(mill, settings, id, output))


async def _watch(mill: AsyncClient, settings: Settings, id: str, output: Path | None) -> None:
    job = await mill.job(id, timeout=settings.timeout)
    status = await job.status(timeout=settings.timeout)
    shown: JobState | None = None
    with progress_bar("watch", total_bytes=status.input_bytes, quiet=settings.quiet) as report:
        async for status in job.watch(timeout=settings.timeout):
            _report(status, report)
            if settings.as_json:
                show_json(document(status))
            elif status.state is not shown and not settings.quiet:
                click.echo(f"{id}: {progress_text(status)}")
            shown = status.state
        error = failure_of(status)
        if error is not None:
            raise error
        if output is not None:
            await _write(job, status, output)


async def _write(job: AsyncJob, status: JobStatus, output: Path) -> None:
    if len(status.results) != 1:
        raise InputError(f"job {job.id} has {len(status.results)} results: fetch each by its id (arraymill get)")
    with OutputFile(output, status.results[0].type) as out:
        await job.result(out=out)


def _report(status: JobStatus, report: Report) -> None:
    report(Progress(status.received_bytes, status.blocks_done, status.blocks, status.times))


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@connected
def cancel(settings: Settings, ids: tuple[str, ...]) -> None:
    """Stop submitted jobs; done when their memory is free.

    Tries each, whatever becomes of the others; the last error tells the exit code.
    """

    async def work(mill: AsyncClient) -> Outcomes:
        async def act(id: str) -> dict[str, Any]:
            job = await mill.job(id, timeout=settings.timeout)
            status = await job.cancel(timeout=settings.timeout)
            if not settings.as_json and not settings.quiet:
                click.echo(f"{id}: {progress_text(status)}")
            return document(status)

        return await each_of(ids, act)

    tell_outcomes(settings, converse(settings, work))
