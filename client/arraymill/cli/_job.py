"""One job from files to a file: the arrays are opened, the expression is built, computed, and written or printed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from arraymill import Array, AsyncClient, AsyncJob, JobNotDoneError, Progress, asarray
from arraymill._layout import AnyArray
from arraymill._quantities import bytes_text
from arraymill.cli._errors import InputError
from arraymill.cli._input import InputFile, open_array
from arraymill.cli._options import Settings, read_number
from arraymill.cli._output import OutputFile
from arraymill.cli._progress import Report, progress_bar
from arraymill.cli._session import converse
from arraymill.cli._show import shape_text, show_json, show_value
from arraymill_proto.graph import ArrayType

_log = logging.getLogger("arraymill")

MAX_SHOWN_BYTES: Final = 256 << 20
"""Largest result that is printed rather than written: beyond, nobody reads it, and it has to fit the memory."""

Operand: TypeAlias = Array | int | float | complex
Opened: TypeAlias = "Mapping[str, InputFile | Operand | None]"
"""What the operands are, by their names; None for an array on the server."""

Build: TypeAlias = Callable[[Mapping[str, Operand]], Array]


@dataclass(frozen=True, slots=True)
class Work:
    """What one command computes."""

    title: str
    """For the progress bar."""
    sources: Mapping[str, str]
    """Where the operands come from, by their names: files, numbers, and @NAME for arrays on the server."""
    build: Build
    """Makes the expression of the operands."""
    output: Path | None = None
    """The file of the result; None prints it."""


def run_work(settings: Settings, work: Work) -> None:
    """Compute, and write or print the result.

    Raises:
        InputError: A file or the expression is wrong.
        ArraymillError: What the server or the connection has to say.
    """
    opened = {name: _open(source) for name, source in work.sources.items()}
    result = converse(settings, lambda mill: _compute(mill, settings, work, opened))
    if work.output is None:
        show_value(result, as_json=settings.as_json)
    elif settings.as_json:
        show_json({"file": str(work.output), "shape": result.shape, "dtype": result.dtype.name})
    elif not settings.quiet:
        click.echo(f"{work.output}: {result.dtype} {shape_text(result.shape)}, {bytes_text(result.nbytes)}")


def _open(source: str) -> InputFile | Operand | None:
    """Return an open file or a number; None for an array on the server."""
    if source.startswith("@"):
        return None
    number = None if os.path.exists(source) else read_number(source)  # noqa: PTH110  # Path.exists may raise
    return open_array(source) if number is None else number


def submit_work(settings: Settings, work: Work, terms: Mapping[str, Any]) -> None:
    """Submit, print the job's id, and send the files; tell when the job gets another id with another server.

    Args:
        settings: Of the command.
        work: What to compute.
        terms: The keywords of `submit` that were given: key, priority, deadline, ttl.

    Raises:
        InputError: A file or the expression is wrong.
        ArraymillError: What the server or the connection has to say.
    """
    opened = {name: _open(source) for name, source in work.sources.items()}
    converse(settings, lambda mill: _submit(mill, settings, work, opened, terms))


async def _submit(mill: AsyncClient, settings: Settings, work: Work, opened: Opened, terms: Mapping[str, Any]) -> None:
    job = await mill.submit(await _expression(mill, work, opened), **terms, timeout=settings.timeout)
    try:
        await _upload(job, settings, _files(opened))
    except JobNotDoneError as exc:
        raise await _left(mill, job, terms.get("key")) from exc


async def _upload(job: AsyncJob, settings: Settings, files: list[InputFile]) -> None:
    shown = ShownId(settings, job)
    with progress_bar("submit", total_bytes=_total(files), quiet=settings.quiet) as show:
        watching = asyncio.ensure_future(_show(job, shown, show, files))
        try:
            await job.uploaded(timeout=settings.timeout)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            shown.update()


async def _left(mill: AsyncClient, job: AsyncJob, key: str | None) -> JobNotDoneError:
    """Close the client, and return what that means for a job that needed it, with the client's warning, in one line."""
    told: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        return False

    _log.addFilter(keep)
    try:
        await mill.close()
    finally:
        _log.removeFilter(keep)
    if key is not None:
        told.append(f"job {job.id} may lack input, submit it again under key {key!r} to go on with it")
    return JobNotDoneError(f"the timeout passed: {'; '.join(told) or f'job {job.id} had not ended'}", job=job.id)


class ShownId:
    """The id of a job as the command has printed it; printed again when the job was submitted again under another."""

    def __init__(self, settings: Settings, job: AsyncJob) -> None:
        self._as_json = settings.as_json
        self._job = job
        self._id = job.id
        if self._as_json:
            show_json({"id": self._id})
        else:
            click.echo(self._id)

    def update(self) -> None:
        """Tell a new id: on stderr, as who takes the output for the id has read it; as JSON in another document."""
        before, now = self._id, self._job.id
        if before == now:
            return
        if self._as_json:
            show_json({"id": now, "replaces": before})
        else:
            click.echo(
                f"arraymill: job {before} went with its server; it was submitted again and is {now} now", err=True
            )
        self._id = now


async def _show(job: AsyncJob, shown: ShownId, show: Report, files: list[InputFile]) -> None:
    async for status in job.watch():
        shown.update()
        for file in files:
            file.release()
        show(Progress(status.received_bytes, status.blocks_done, status.blocks, status.times))


async def _expression(mill: AsyncClient, work: Work, opened: Opened) -> Array:
    operands: dict[str, Operand] = {}
    for name, entry in opened.items():
        if isinstance(entry, InputFile):
            operands[name] = asarray(entry.array)
        else:
            operands[name] = await mill.array(work.sources[name][1:]) if entry is None else entry
    return work.build(operands)


def _files(opened: Opened) -> list[InputFile]:
    return [entry for entry in opened.values() if isinstance(entry, InputFile)]


def _total(files: list[InputFile]) -> int:
    return sum(file.array.nbytes for file in files)


async def _compute(mill: AsyncClient, settings: Settings, work: Work, opened: Opened) -> Any:
    files = _files(opened)
    expression = await _expression(mill, work, opened)
    releases = [file.release for file in files]
    with progress_bar(work.title, total_bytes=_total(files), quiet=settings.quiet) as show:

        def report(progress: Progress) -> None:
            for release in releases:
                release()
            show(progress)

        if work.output is None:
            _check_printable(expression)
            return await mill.compute(expression, timeout=settings.timeout, progress=report)
        fortran = expression.ndim > 1 and _is_mostly_fortran(files)
        output = OutputFile(work.output, ArrayType(expression.shape, expression.dtype), fortran=fortran)
        releases.append(output.release)
        with output as out:
            return await mill.compute(expression, out=out, timeout=settings.timeout, progress=report)


def _check_printable(expression: Array) -> None:
    if expression.nbytes > MAX_SHOWN_BYTES:
        raise InputError(
            f"the result has {bytes_text(expression.nbytes)}: name a file for it with -o (printed are up to "
            f"{bytes_text(MAX_SHOWN_BYTES)})"
        )


def _is_mostly_fortran(files: list[InputFile]) -> bool:
    """Tell whether most input bytes lie in Fortran order: then so do the result's, and frames land in one piece."""
    weights = [file.array.nbytes if _is_fortran(file.array) else -file.array.nbytes for file in files]
    return sum(weights) > 0


def _is_fortran(array: AnyArray) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)
