"""How the demo compares answers, and what it does about wrong ones."""

from __future__ import annotations

from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from arraymill import JobTimes
from arraymill.cli._exit_codes import ExitCode
from arraymill.cli.demo._report import WIDE, steps_table
from arraymill.cli.demo._stage import conclude
from arraymill.cli.demo._tour import RELATIVE, Step, relative_difference

TIMES = JobTimes(1.0, 0.1, 0.5, 0.3, 0.01, 0.2, 1 << 30, 1 << 20, 256, 2)


def step(difference: float) -> Step:
    return Step("a step", 1, 2.0, 3.0, (TIMES,), difference)


@pytest.mark.parametrize(
    ("answer", "right", "difference"),
    [
        (1.5, np.float64(1.5), 0.0),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), 0.0),
        (np.array([1.0, 2.0 + 1e-9]), np.array([1.0, 2.0]), 0.5e-9),
        (np.array([0.0, 0.0]), np.array([0.0, 0.0]), 0.0),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), np.inf),
        (np.array([1.0]), np.array([1.0, 1.0]), np.inf),
        (np.array([1], np.float32), np.array([1], np.float64), np.inf),
        (np.array([1e300]), np.array([0.0]), np.inf),
    ],
)
def test_the_difference_from_numpy(answer: Any, right: Any, difference: float) -> None:
    assert relative_difference(answer, right) == pytest.approx(difference, rel=1e-6)


def test_a_wrong_answer_fails_the_demo() -> None:
    output = StringIO()
    console = Console(file=output)
    assert conclude(console, [step(0.0), step(RELATIVE)]) == ExitCode.OK
    assert conclude(console, [step(0.0), step(2 * RELATIVE)]) == ExitCode.FAILED
    assert "Not NumPy's answer: a step." in output.getvalue()


@pytest.mark.parametrize("width", [WIDE, 80])
def test_the_table_fits_its_width(width: int) -> None:
    output = StringIO()
    Console(file=output, width=width).print(steps_table([step(0.0), step(1e-16), step(np.inf)], width=width))
    header, *lines = output.getvalue().splitlines()
    assert ("receive" in header) == (width >= WIDE)
    assert len(lines) == 3
    assert [line.split()[-1] for line in lines] == ["equal", "1e-16", "DIFFERENT"]
    assert all("2 s" in line for line in lines)
