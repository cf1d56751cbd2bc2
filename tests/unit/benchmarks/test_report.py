"""Markdown of results, and that the committed files are what is made of the committed samples."""

from __future__ import annotations

import pytest

from suite.files import REPORT, RESULTS, report
from suite.promises import beside
from suite.quantities import gigabytes_per_second
from suite.report import broken, markdown, summary
from suite.results import Results, Round
from suite.row import Entry, Row
from suite.rows import ROWS

MACHINE = {"date": "2026-01-02", "cores": 2, "cpu": "abacus", "python": "3.11.7", "others_cores": 0.25}
SPEED = gigabytes_per_second()
ROW = Row(
    "One-shot sum",
    "sum",
    (Entry("arraymill", "arraymill"), Entry("Flight", "flight"), Entry("Ray", "ray")),
    SPEED,
    (beside("arraymill", "Flight", SPEED, least=1.5), beside("arraymill", "Ray", SPEED, least=2.0)),
)
SAMPLES = {"arraymill": [{"seconds": 0.5}, {"seconds": 0.25}], "Flight": [{"seconds": 0.5}, {"seconds": 0.5}]}
RESULT = Results("sum", MACHINE, {}, 2, [Round(1 << 30, SAMPLES, {"Ray": "no module named 'ray'"}, ["Flight"])])


def test_a_report_tells_medians_ranges_ratios_who_is_missing_and_what_was_promised() -> None:
    assert (
        markdown(ROW, RESULT)
        == """\
## One-shot sum

2026-01-02, 2 cores of abacus, Python 3.11.7, quiet; 2 rounds in turn after 2 to warm up. \
Ratios are the medians of the ratios of each round.

### 1 GiB

| | throughput | range | arraymill ÷ it |
|---|---|---|---|
| arraymill | 3.22 GB/s | 2.15–4.29 | 1 |
| Flight (computes nothing) | 2.15 GB/s | 2.15–2.15 | 1.5 |

- Ray took no part: no module named 'ray'

- kept: throughput of arraymill beside Flight: 1.5; promised is at least 1.5
- not measured: throughput of arraymill beside Ray: promised is at least 2
"""
    )


def test_a_summary_has_every_promise_of_every_row_measured_or_not() -> None:
    assert (
        summary({"sum": ROW, "mean": ROW}, {"sum": RESULT})
        == """\
| row | promise | bound | measured | |
|---|---|---|---|---|
| [One-shot sum](#sum) | throughput of arraymill beside Flight | at least 1.5 | 1.5 | kept |
| [One-shot sum](#sum) | throughput of arraymill beside Ray | at least 2 |  | not measured |
| [One-shot sum](#mean) | throughput of arraymill beside Flight | at least 1.5 |  | not measured |
| [One-shot sum](#mean) | throughput of arraymill beside Ray | at least 2 |  | not measured |
"""
    )


def test_rounds_of_several_sizes_are_told_from_the_fewest_to_the_most() -> None:
    further = Round(1 << 20, {"arraymill": [{"seconds": 0.5}]})
    assert "; 1–2 rounds in turn" in markdown(ROW, Results("sum", MACHINE, {}, 2, [*RESULT.sizes, further]))


def test_figures_of_a_busy_machine_are_rough() -> None:
    busy = Results("sum", MACHINE | {"others_cores": 1.234}, {}, 2, RESULT.sizes)
    assert "Python 3.11.7, rough: other work took 1.2 of 2 cores; 2 rounds" in markdown(ROW, busy)


def test_only_what_was_measured_can_be_broken() -> None:
    slow = Results("sum", MACHINE, {}, 2, [Round(8, {"arraymill": [{"seconds": 2.0}], "Flight": [{"seconds": 1.0}]})])
    assert broken(ROW, RESULT) == []
    assert broken(ROW, slow) == [ROW.promises[0]]


@pytest.mark.parametrize("name", [name for name in ROWS if (RESULTS / f"{name}.json").exists()])
def test_the_reports_are_those_of_the_samples(name: str) -> None:
    written = (RESULTS / f"{name}.md").read_text()
    assert written == markdown(ROWS[name], Results.load(RESULTS / f"{name}.json")), "make bench ARGS=--readme"


def test_the_report_of_all_rows_is_that_of_the_samples() -> None:
    path = RESULTS / REPORT
    assert not path.exists() or path.read_text() == report(RESULTS), "make bench ARGS=--readme"


def test_there_are_no_results_of_rows_that_are_none() -> None:
    assert {path.stem for path in RESULTS.iterdir() if path.is_file()} <= {*ROWS, "memory", "report"}
