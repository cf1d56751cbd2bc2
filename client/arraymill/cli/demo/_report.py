"""What the demo prints: a table of what ran and how long, what was found, and the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table

from arraymill import JobTimes
from arraymill._quantities import bytes_text
from arraymill.cli._show import seconds_text
from arraymill.cli.demo._data import Earth
from arraymill.cli.demo._picture import half_blocks, shade
from arraymill.cli.demo._tour import TILES, Findings, Shares, Step

SPHERE_KM2 = 510_072_000.0
"""Surface of the Earth."""

WIDE = 128
"""Columns that the table with the time split takes."""


def steps_table(steps: Sequence[Step], *, width: int) -> Table:
    """Return the table: one line for each step; with the server's time split where the width allows it."""
    is_wide = width >= WIDE
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step")
    split = ("passes", "wait", "receive", "compute", "merge", "send") if is_wide else ()
    for name in ("jobs", "moved", "time", "GB/s", *split, "NumPy"):
        table.add_column(name, justify="right")
    table.add_column("answer")
    for step in steps:
        table.add_row(step.title, str(step.jobs), *_figures(step, is_wide), _verdict(step))
    return table


def _figures(step: Step, is_wide: bool) -> Iterable[str]:
    yield bytes_text(step.traffic)
    yield seconds_text(step.seconds)
    yield f"{step.traffic / step.seconds / 1e9:.2f}" if step.traffic > 1 << 20 else "-"
    if is_wide:
        yield str(max(times.passes for times in step.times))
        for pick, part in _SPLIT:
            yield seconds_text(pick([part(times) for times in step.times]))
    yield seconds_text(step.numpy_seconds)


_SPLIT: Sequence[tuple[Callable[[list[float]], float], Callable[[JobTimes], float]]] = (
    (max, lambda times: times.queued),
    (max, lambda times: times.received),
    (sum, lambda times: times.computed),
    (sum, lambda times: times.merged),
    (max, lambda times: times.sent),
)
"""Parts of the server's time split. Jobs wait and travel side by side; the work of workers adds up."""


def _verdict(step: Step) -> str:
    if step.difference == 0:
        return "[green]equal[/]"
    return f"[green]± {step.difference:.0e}[/]" if step.is_right else "[bold red]DIFFERENT[/]"


def findings_text(earth: Earth, findings: Findings) -> str:
    """Return what was found out, in a few lines."""
    rows = findings.by_latitude
    most = int(rows[: len(rows) * 5 // 6].argmax())
    columns = findings.by_longitude
    meridian = int(columns.argmax()) * 360 / len(columns) - 180
    row, column = divmod(int(findings.tiles.argmax()), TILES[1])
    north, west = 90 - 30 * row, -180 + 30 * column
    regions = ", ".join(f"{name} {share:.0%}" for name, share in findings.regions.items())
    return (
        f"Land: {findings.area / 1e6:.1f} million km², {findings.area / SPHERE_KM2:.1%} of the surface. "
        f"Most of it along {_degrees(earth.latitudes[most], 'N', 'S')}, where {rows[most]:.0%} is land (Antarctica "
        f"apart), along {_degrees(meridian, 'E', 'W')}, and in the tile from {_degrees(north, 'N', 'S')} "
        f"{_degrees(west, 'E', 'W')}.\nLand in boxes: {regions}."
    )


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):.0f}° {positive if value >= 0 else negative}"


def print_picture(console: Console, shares: Shares) -> None:
    """Print the land: in colour on a terminal that has enough colours, in plain characters elsewhere."""
    if console.color_system in {"truecolor", "256"}:
        console.print(half_blocks(shares), soft_wrap=True)
    else:
        for line in shade(shares):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
