"""The table of rows: nothing in it can only fail when it is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

import suite
from suite.contestants import HOMES
from suite.lanes import LANE, SWITCHES
from suite.results import Results, Round
from suite.row import MARGIN, MIB, SMALL, Row, quick
from suite.rows import NAIVE, NUMPY, ROWS
from suite.task import Figures

NAMES = """
seconds p50_seconds p99_seconds jobs client_cpu_seconds servers_cpu_seconds workers_cpu_seconds
client_growth_mib servers_mib cores
"""
FIGURES: Figures = dict.fromkeys(NAMES.split(), 1.0)


def filled(name: str, row: Row) -> Results:
    """Results in which everybody took part."""
    samples = {entry.label: [FIGURES, FIGURES] for entry in row.entries}
    return Results(name, {}, {}, 2, [Round(nbytes, samples) for nbytes in row.sizes])


@pytest.mark.parametrize("name", ROWS)
def test_entries_are_told_apart_and_have_a_home(name: str) -> None:
    labels = [entry.label for entry in ROWS[name].entries]
    assert len(labels) == len(set(labels))
    assert {entry.contestant for entry in ROWS[name].entries} <= set(HOMES)


@pytest.mark.parametrize("name", ROWS)
def test_every_promise_and_every_column_can_be_measured(name: str) -> None:
    row = ROWS[name]
    assert [promise.measure(filled(name, row)) for promise in row.promises].count(None) == 0
    for quantity in (row.quantity, *row.also):
        assert quantity.of(FIGURES, row.sizes[0]) > 0


def test_every_contestant_has_a_module() -> None:
    folder = Path(suite.__path__[0], "contestants")
    assert all((folder / f"{home.module}.py").exists() for home in HOMES.values())


def test_small_arrays_are_computed_on_several_times() -> None:
    row = ROWS["sum"]
    assert [row.task(row.entries[0], size * MIB).jobs for size in (256, 16, 1)] == [1, 2, 32]


def test_a_row_or_an_entry_says_how_many_jobs_a_run_has() -> None:
    assert ROWS["small"].task(ROWS["small"].entries[0], SMALL).jobs == 200
    assert ROWS["import"].task(ROWS["import"].entries[0], SMALL).jobs == 1
    assert {entry.clients * ROWS["clients"].task(entry, 16 * MIB).jobs for entry in ROWS["clients"].entries} == {192}


def test_the_first_size_has_more_rounds_than_further_ones() -> None:
    assert [ROWS["sum"].rounds_at(size * MIB) for size in (256, 1024, 1)] == [9, 3, 3]
    assert {ROWS["growth"].rounds_at(size) for size in ROWS["growth"].sizes} == {5}


@pytest.mark.parametrize("name", ROWS)
def test_a_quick_row_has_all_entries_and_little_to_do(name: str) -> None:
    row = quick(ROWS[name])
    assert [entry.label for entry in row.entries] == [entry.label for entry in ROWS[name].entries]
    for entry in row.entries:
        task = row.task(entry, row.sizes[0])
        assert task.nbytes <= 16 * MIB
        assert 1 <= task.jobs * max(1, task.clients) <= 64
        assert task.options.get("beside", 0) <= 16 * MIB


def test_a_row_knows_about_how_much_memory_it_needs() -> None:
    small, large = MIB, 1024 * MIB
    assert ROWS["fused"].needs_bytes(small) == (4 + 2 + 2 + 3 + NUMPY.copies) * small * MARGIN
    row = Row("A row", "sum", (NUMPY, NAIVE), ROWS["sum"].quantity)
    assert row.needs_bytes(small) == (1 + 1 + NAIVE.copies) * small * MARGIN
    assert row.needs_bytes(large) == (1 + NUMPY.copies) * large * MARGIN
    assert ROWS["beside"].needs_bytes(SMALL) > 8 << 30


@pytest.mark.parametrize("name", ROWS)
def test_lanes_are_known_and_no_wire_is_that_of_another_lane(name: str) -> None:
    for entry in ROWS[name].entries:
        lane = entry.options.get("lane", LANE)
        assert entry.label.endswith(" lane") == (lane == "bulk")
        assert ("frames" in entry.label) == (lane == "frames")
        assert SWITCHES[lane].get("shared", True) == (lane == "memory")
        assert SWITCHES[lane].get("bulk", True) == (lane != "frames")
