"""The progress bar: on a terminal only, and never in the way of a result."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from arraymill import Progress
from arraymill._quantities import bytes_text

Report = Callable[[Progress], None]

_REFRESHES: Final = 4
"""Per second: enough to read."""


@contextmanager
def progress_bar(title: str, *, total_bytes: int, quiet: bool) -> Generator[Report]:
    """Show how far a job is on stderr, when that is a terminal.

    Args:
        title: What runs.
        total_bytes: Bytes of all inputs of this process.
        quiet: Show nothing at all.

    Yields:
        What takes the job's reports; it may be called from another thread.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda progress: None
        return
    # Loaded where it is seen: it takes a third of the time of all other modules of the command line.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[traffic]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=_REFRESHES) as bar:
        task = bar.add_task(title, total=None, traffic="waiting")
        begin = time.monotonic()

        def report(progress: Progress) -> None:
            traffic = traffic_text(progress.received_bytes, total_bytes, time.monotonic() - begin)
            bar.update(task, total=progress.blocks, completed=progress.blocks_done, traffic=traffic)

        yield report


def traffic_text(received: int, total: int, seconds: float) -> str:
    """Return bytes and rate: `1.2 GiB of 8 GiB, 950 MiB/s`. With several passes more arrive than there are."""
    if not received:
        return ""
    amount = f"{bytes_text(received)} of {bytes_text(total)}" if received <= total else bytes_text(received)
    return f"{amount}, {bytes_text(received / seconds)}/s" if seconds > 0 else amount
