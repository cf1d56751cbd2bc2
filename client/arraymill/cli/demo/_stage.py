"""The demo from beginning to end: the data, a private server, the jobs, and what is printed of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

import arraymill as am
from arraymill._quantities import bytes_text
from arraymill.cli._exit_codes import ExitCode
from arraymill.cli._serve import require_server
from arraymill.cli._session import run_cancellable
from arraymill.cli.demo._data import Earth, load_earth
from arraymill.cli.demo._picture import write_png
from arraymill.cli.demo._report import findings_text, print_picture, steps_table
from arraymill.cli.demo._tour import Findings, Shares, Step, Tour

PICTURES: Final = ((20, 40), (30, 60), (36, 72), (50, 100), (60, 120))
"""Rows and columns of the picture on a terminal: they divide the grid; two rows make a line."""

PNG_SIZE: Final = (1350, 2700)
MAX_WORKERS: Final = 8
"""More do not help here: the wire is the limit."""


def perform(workers: int | None, arena: str, every: int, png: Path | None) -> int:
    """Run the demo.

    Args:
        workers: Worker processes; None for one per CPU.
        arena: Shared memory of the server.
        every: Take every so-manieth point of the data.
        png: A file for the picture.

    Returns:
        The exit code.

    Raises:
        MissingExtraError: A package is not installed.
        ArraymillError: The server did not start, or a job failed.
    """
    require_server("the demo")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 132)
    with console.status("unpacking the Earth …") as status:
        earth = load_earth(every)
        count = workers or min(_cpus(), MAX_WORKERS)
        show = run_cancellable(
            lambda: _run(earth, count, arena, lambda title: status.update(f"{title} …"), png is not None)
        )
    rows, columns = earth.land.shape
    console.print(f"Data    land and sea, {rows:,} × {columns:,} booleans, {bytes_text(earth.land.nbytes)}")
    console.print(f"        {earth.source}", markup=False)
    console.print(f"Server  private, on a Unix socket: {count} workers, arena of {arena}\n")
    console.print(steps_table(show.steps, width=console.width))
    console.print(f"\n{findings_text(earth, show.findings)}\n")
    print_picture(console, show.picture)
    if png is not None and show.poster is not None:
        write_png(png, show.poster)
        console.print(f"{png}: {PNG_SIZE[1]} × {PNG_SIZE[0]} pixels", markup=False)
    return conclude(console, show.steps)


@dataclass(frozen=True, slots=True)
class _Show:
    """Everything to print."""

    steps: list[Step]
    findings: Findings
    picture: Shares
    poster: Shares | None
    """For the PNG file."""


async def _run(earth: Earth, workers: int, arena: str, tell: Callable[[str], None], wants_poster: bool) -> _Show:
    async with am.local(workers=workers, arena=arena) as mill:
        tour = Tour(mill, earth, tell)
        findings = await tour.run()
        picture = await tour.picture(*_picture_size())
        poster = await tour.picture(*PNG_SIZE) if wants_poster else None
    return _Show(tour.steps, findings, picture, poster)


def conclude(console: Console, steps: list[Step]) -> int:
    """Print the verdict and return the exit code."""
    wrong = [step.title for step in steps if not step.is_right]
    jobs = sum(step.jobs for step in steps)
    if wrong:
        console.print(f"[bold red]Not NumPy's answer: {', '.join(wrong)}.[/]")
        return ExitCode.FAILED
    console.print(f"All {jobs} jobs gave NumPy's answer.")
    return ExitCode.OK


def _picture_size() -> tuple[int, int]:
    """Return the largest picture that fits the terminal."""
    width = shutil.get_terminal_size().columns
    return max((size for size in PICTURES if size[1] <= width), default=PICTURES[0])


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
