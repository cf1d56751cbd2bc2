"""The command `report`: what a load test has told, as a page or in the terminal, alone or beside another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arraymill.cli._errors import InputError
from arraymill.cli._options import OUTPUT
from arraymill.cli._output import write_text
from arraymill.cli._show import show_json

if TYPE_CHECKING:
    from arraymill.load._report import Report

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("report", type=_FILE, metavar="A.json")
@click.argument("other", type=_FILE, required=False, metavar="[B.json]")
@click.option("-o", "--output", type=OUTPUT, metavar="OUT.html", help="Write a page with plots to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error comes from.")
def report(report: Path, other: Path | None, output: Path | None, as_json: bool) -> None:
    """Show the report of a load test, or compare two: A.json is before, B.json after.

    Without -o the figures are printed. The page is one file that needs no network.
    """
    from arraymill.load._report import read_report  # noqa: PLC0415  # costs every other command 20 ms

    inputs = [path for path in (report, other) if path is not None]
    told = list(map(read_report, inputs))
    if len(told) == 2 and told[0] == told[1]:
        raise InputError(f"{report} and {other} are the same report: there is nothing to compare")
    if output is not None:
        _write(output, inputs, told)
    if as_json or output is None:
        _tell(told, as_json=as_json)


def _write(output: Path, inputs: Sequence[Path], told: Sequence[Report]) -> None:
    """Write the page.

    Raises:
        InputError: It cannot be written, or would replace a report.
    """
    from arraymill.load._html import render, render_comparison  # noqa: PLC0415

    if output.exists() and any(map(output.samefile, inputs)):
        raise InputError(f"{output} is the report itself: name another file for the page")
    write_text(output, render(told[0]) if len(told) == 1 else render_comparison(*told))


def _tell(told: Sequence[Report], *, as_json: bool) -> None:
    from arraymill.cli._report_show import comparison_document, document, show, show_comparison  # noqa: PLC0415

    if as_json:
        show_json(document(told[0]) if len(told) == 1 else comparison_document(*told))
    elif len(told) == 1:
        show(told[0])
    else:
        show_comparison(*told)
