"""README's table of figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.files import RESULTS
from suite.readme import BEGIN, END, README, table, updated
from suite.results import Results, Round
from suite.row import MIB, SMALL


def test_readme_has_the_figures_of_the_results() -> None:
    text = README.read_text()
    assert text == updated(text, table(RESULTS)), "make bench ARGS=--readme"


def save(folder: Path, name: str, size: Round, others: float = 0.1) -> None:
    Results(name, {"cores": 2, "others_cores": others}, {}, 2, [size]).save(folder / f"{name}.json")


def test_a_row_is_one_line(tmp_path: Path) -> None:
    samples = {"arraymill": [{"seconds": 0.2}], "Arrow Flight": [{"seconds": 0.3}], "Ray": [{"seconds": 0.1}]}
    save(tmp_path, "mean", Round(256 * MIB, samples, idle=["Arrow Flight"]))
    assert table(tmp_path).splitlines()[2:] == [
        "| One-shot mean, 2 workers, 256 MiB | 1.34 GB/s | 1.5 × Arrow Flight (computes nothing), 0.5 × Ray |"
    ]


def test_the_first_is_named_where_it_is_no_service_and_other_promises_are_told(tmp_path: Path) -> None:
    slow, quick = {"seconds": 0.02, "p50_seconds": 0.1, "p99_seconds": 0.25}, {"seconds": 0.01}
    save(tmp_path, "clients", Round(16 * MIB, {"64 clients": [slow], "1 client": [quick]}))
    save(tmp_path, "start", Round(SMALL, {"arraymill": [{"seconds": 1.5}]}))
    assert table(tmp_path).splitlines()[2:] == [
        "| Sums of clients at once, 16 MiB | 64 clients: 0.839 GB/s "
        "| 0.5 × 1 client, p99 over p50 of 64 clients: 2.5 |",
        "| A server with the default arena: start, a healthy answer, stop | 1.5 s | arraymill, s: 1.5 |",
    ]


def test_figures_of_a_busy_machine_are_rough(tmp_path: Path) -> None:
    save(tmp_path, "start", Round(SMALL, {"arraymill": [{"seconds": 1.5}]}), others=1.5)
    assert " stop (rough: other work took 1.5 of 2 cores) | " in table(tmp_path)


def test_a_row_without_arraymill_has_no_line(tmp_path: Path) -> None:
    save(tmp_path, "sum", Round(256 * MIB, {"Ray": [{"seconds": 0.1}]}))
    assert len(table(tmp_path).splitlines()) == 2


def test_the_memory_of_large_jobs_is_a_line(tmp_path: Path) -> None:
    jobs = [{"name": "sum", "peak_mib": 350.0, "seconds": 6.0}, {"name": "mean", "peak_mib": 371.4, "seconds": 6.0}]
    (tmp_path / "memory.json").write_text(json.dumps({"gibibytes": 8.0, "arena_mib": 256.0, "jobs": jobs}))
    assert table(tmp_path).splitlines()[2].split(" | ")[:2] == [
        "| peak memory while 8 GiB go through an arena of 256 MiB",
        "arena + 115 MiB",
    ]


def test_only_what_is_between_the_lines_is_replaced() -> None:
    assert updated(f"before\n{BEGIN}old\n{END}after\n", "new\n") == f"before\n{BEGIN}new\n{END}after\n"
    with pytest.raises(ValueError, match="README has no lines"):
        updated("before\nafter\n", "new\n")
