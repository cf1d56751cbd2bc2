"""The files of results: JSON with every sample, Markdown and a plot of each row, and a report of all that there are."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from suite.report import markdown, summary
from suite.results import Results
from suite.row import Row
from suite.rows import ROWS

RESULTS: Final = Path(__file__).parents[1] / "results"
REPORT: Final = "report.md"
PLOT_SECONDS: Final = 120.0


def write(row: Row, results: Results, folder: Path, environments: Path) -> str:
    """Write all of a row's; return the Markdown, and why there is no plot if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(row, results)
    results.save(folder / f"{results.row}.json")
    (folder / f"{results.row}.md").write_text(text)
    trouble = plot(picture(row, results), folder / f"{results.row}.svg", environments / "peers/bin/python")
    (folder / REPORT).write_text(report(folder))
    return f"{text}{trouble}"


def rewrite(folder: Path) -> None:
    """Write all Markdown in a folder anew from the samples."""
    for name, results in _measured(folder).items():
        (folder / f"{name}.md").write_text(markdown(ROWS[name], results))
    (folder / REPORT).write_text(report(folder))


def _measured(folder: Path) -> dict[str, Results]:
    paths = {name: folder / f"{name}.json" for name in ROWS}
    return {name: Results.load(path) for name, path in paths.items() if path.exists()}


def report(folder: Path) -> str:
    """Return one report of all rows in a folder, whenever and in how many runs they were measured."""
    measured = _measured(folder)
    parts = ["# Figures\n", summary(ROWS, measured)]
    for name, results in measured.items():
        parts.append(f'<a id="{name}"></a>\n\n{markdown(ROWS[name], results)}')
        if (folder / f"{name}.svg").exists():
            parts.append(f"![{ROWS[name].title}]({name}.svg)\n")
    return "\n".join(parts)


def picture(row: Row, results: Results) -> dict[str, Any]:
    """Return what `suite.picture` draws."""
    labels = [entry.label for entry in row.entries if any(entry.label in each.samples for each in results.sizes)]
    values = {
        label: {
            each.nbytes: results.values(label, row.quantity, each.nbytes)
            for each in results.sizes
            if label in each.samples
        }
        for label in labels
    }
    sizes = [each.nbytes for each in results.sizes]
    return {"title": row.title, "unit": row.quantity.unit, "labels": labels, "sizes": sizes, "values": values}


def plot(content: dict[str, Any], target: Path, python: Path) -> str:
    """Draw with matplotlib, which lives with the peers; return why it could not be done, or nothing."""
    if not content["labels"]:
        return "no plot: nobody took part\n"
    if not python.exists():
        return "no plot: matplotlib's environment 'peers' is not there: make bench makes it\n"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "picture.json")
        source.write_text(json.dumps(content))
        command = [str(python), "-m", "suite.picture", str(source), str(target)]
        variables = {**os.environ, "PYTHONPATH": str(RESULTS.parent), "HOME": folder, "MPLCONFIGDIR": folder}
        try:
            subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=PLOT_SECONDS)
        except subprocess.CalledProcessError as error:
            return f"no plot: {error.stderr.strip().rpartition(chr(10))[2]}\n"
        except subprocess.TimeoutExpired:
            return f"no plot: it took more than {PLOT_SECONDS:g} s\n"
    return ""
