"""Measure contenders in turn: A B C A B C …, so that what the machine does meanwhile meets all of them."""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from peers import Work


@dataclass(frozen=True, slots=True)
class Figure:
    """The times of one contender, in seconds."""

    name: str
    median: float
    fastest: float
    slowest: float


def in_turn(works: Mapping[str, Work], rounds: int, warm_up: int = 2) -> list[Figure]:
    """Run all contenders in turn; the first rounds are not counted. All that compute must agree."""
    times: dict[str, list[float]] = {name: [] for name in works}
    answers: dict[str, float] = {}
    for number in range(warm_up + rounds):
        for name, work in works.items():
            begin = time.perf_counter()
            answers[name] = work()
            if number >= warm_up:
                times[name].append(time.perf_counter() - begin)
    computed = [answer for answer in answers.values() if not math.isnan(answer)]
    if any(not math.isclose(answer, computed[0], rel_tol=1e-9) for answer in computed):
        raise RuntimeError(f"the contenders disagree: {answers}")
    return [Figure(name, statistics.median(seen), min(seen), max(seen)) for name, seen in times.items()]


def table(title: str, figures: list[Figure], nbytes: int, reference: str) -> str:
    """A Markdown table of throughputs, and of ratios to one contender's."""
    base = next(figure.median for figure in figures if figure.name == reference)
    lines = [f"### {title}", "", f"| | median | range | GB/s | × {reference} |", "|---|---|---|---|---|"]
    for figure in figures:
        speed, span = nbytes / figure.median / 1e9, f"{figure.fastest * 1e3:.0f}–{figure.slowest * 1e3:.0f} ms"
        lines.append(
            f"| {figure.name} | {figure.median * 1e3:.0f} ms | {span} | {speed:.2f} | {base / figure.median:.2f} |"
        )
    return "\n".join([*lines, ""])


def save(folder: Path, name: str, text: str, figures: list[Figure]) -> None:
    """Write a table as Markdown and its figures as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    data = {"machine": machine, "figures": [asdict(figure) for figure in figures]}
    (folder / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")
