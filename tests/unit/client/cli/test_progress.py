"""The progress bar: words and silence. How it looks on a terminal: tests/integration/test_cli_process.py."""

from __future__ import annotations

import pytest

from arraymill import Progress
from arraymill.cli._progress import progress_bar, traffic_text


@pytest.mark.parametrize(
    ("received", "total", "seconds", "text"),
    [
        (0, 100, 1.0, ""),
        (1 << 30, 8 << 30, 2.0, "1 GiB of 8 GiB, 512 MiB/s"),
        (12 << 30, 8 << 30, 12.0, "12 GiB, 1 GiB/s"),
        (1 << 20, 1 << 20, 0.0, "1 MiB of 1 MiB"),
    ],
)
def test_bytes_and_rate(received: int, total: int, seconds: float, text: str) -> None:
    assert traffic_text(received, total, seconds) == text


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_is_shown_where_nobody_looks(quiet: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar("sum", total_bytes=100, quiet=quiet) as report:
        report(Progress(50, 1, 2))
    assert capfd.readouterr() == ("", "")
