"""The files of a row's results: JSON with every sample, Markdown, and a plot."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from suite.report import markdown
from suite.results import Results
from suite.rows import ROWS, Row

RESULTS: Final = Path(__file__).parents[1] / "results"
PLOT_SECONDS: Final = 120.0


def write(row: Row, results: Results, folder: Path, environments: Path) -> str:
    """Write all three; return the Markdown, and why there is no plot if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(row, results)
    results.save(folder / f"{results.row}.json")
    (folder / f"{results.row}.md").write_text(text)
    trouble = plot(picture(row, results), folder / f"{results.row}.svg", environments / "peers/bin/python")
    return f"{text}{trouble}"


def rewrite(folder: Path) -> None:
    """Write the Markdown of all rows in a folder anew from their samples."""
    for name, row in ROWS.items():
        path = folder / f"{name}.json"
        if path.exists():
            path.with_suffix(".md").write_text(markdown(row, Results.load(path)))


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
