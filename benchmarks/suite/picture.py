"""A row's results as a plot: `python -m suite.picture IN.json OUT.svg`, in an environment that has matplotlib."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot


def main() -> None:
    """Draw bars for one size, lines for several."""
    source, target = sys.argv[1:]
    picture = json.loads(Path(source).read_text())
    mpl.rcParams.update({"svg.hashsalt": "arraymill", "svg.fonttype": "none", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + max(2.0, 0.42 * len(picture["labels"]))), layout="constrained")
    draw = _bars if len(picture["sizes"]) == 1 else _lines
    draw(axes, picture)
    axes.set_title(picture["title"], loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, metadata={"Date": None})


def _bars(axes: Any, picture: dict[str, Any]) -> None:
    """Draw medians as bars, and every round as a dot."""
    (size,) = picture["sizes"]
    for place, label in enumerate(reversed(picture["labels"])):
        values = picture["values"][label][str(size)]
        middle = statistics.median(values)
        axes.barh(place, middle, height=0.6, color="#4477aa" if label.startswith("arraymill") else "#bbbbbb")
        axes.plot(values, [place] * len(values), "k.", markersize=3)
        axes.annotate(f" {middle:.3g}", (max(values), place), va="center")
    axes.set_yticks(range(len(picture["labels"])), picture["labels"][::-1])
    axes.set_xlabel(picture["unit"])
    axes.margins(x=0.1)


def _lines(axes: Any, picture: dict[str, Any]) -> None:
    """Draw medians over sizes, with the range of the rounds."""
    for label in picture["labels"]:
        by_size = picture["values"][label]
        sizes = sorted(map(int, by_size))
        rounds = [by_size[str(size)] for size in sizes]
        mebibytes = [size / (1 << 20) for size in sizes]
        (line,) = axes.plot(mebibytes, list(map(statistics.median, rounds)), ".-", label=label)
        axes.fill_between(mebibytes, list(map(min, rounds)), list(map(max, rounds)), color=line.get_color(), alpha=0.15)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("MiB")
    axes.set_ylabel(picture["unit"])
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


if __name__ == "__main__":
    main()
