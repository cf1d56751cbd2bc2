"""What `top` draws, on terminals of all sizes."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from tops import MIB, info_of, jobs_of

from arraymill.cli.top._frame import ASCII, UNICODE, Glyphs, frame, plain_frame
from arraymill.cli.top._meter import Flow, View

FLOWS = {
    "jobs": Flow({"succeeded": 4.0}, (1.0, 0.0, 2.0, 4.0)),
    "received": Flow({"grpc": 1.0 * MIB}, (1.0 * MIB,)),
    "sent": Flow({"grpc": 0.0}, (0.0, 0.0)),
}
VIEW = View("host:1", info_of(uptime_seconds=60), jobs_of(30), flows=FLOWS)
KEYS = "q quits"


def drawn(view: View, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[str]:
    """Return what a terminal would show."""
    console = Console(record=True, width=width, height=height, file=StringIO(), force_terminal=True)
    for line in frame(view, KEYS, width, height, glyphs):
        console.print(line, soft_wrap=True, highlight=False)
    return console.export_text().splitlines()


def test_a_usual_terminal() -> None:
    lines = drawn(VIEW, 80, 24)
    assert len(lines) == 24
    title = "host:1  arraymill 1.2.3  up 60 s"
    assert lines[0] == title + KEYS.rjust(80 - len(title))
    assert lines[1] == "workers   ████████████░░░░  3 of 4 busy"
    assert lines[2] == "arena     ██████▓▓░░░░░░░░  64 MiB of 128 MiB used, 48 MiB by jobs"
    jobs = next(line for line in lines if line.startswith("jobs"))
    assert jobs == f"jobs      {'▃ ▅█':>16}  0 running, 0 waiting; 4/s succeeded"
    header = next(index for index, line in enumerate(lines) if line.startswith("id "))
    assert lines[header - 1] == ""
    assert lines[header + 1].endswith("1:00:00     5   25 %  running, 10 of 40 blocks  night-0")
    assert lines[-1] == "… and more"


@pytest.mark.parametrize("count", [0, 1, 2, 4, 30])
def test_all_fits_any_terminal(count: int) -> None:
    view = View("host:1", info_of(), jobs_of(count), flows=FLOWS, trouble="lost " * 50, has_more_jobs=count == 30)
    for width in (1, 2, 9, 10, 11, 20, 40, 49, 50, 60, 79, 80, 132, 300):
        for height in (1, 2, 3, 4, 5, 8, 14, 17, 24, 60):
            lines = frame(view, KEYS, width, height)
            assert 0 < len(lines) <= height
            assert max(line.cell_len for line in lines) <= width


@pytest.mark.parametrize("height", [17, 18, 24, 40, 42, 43, 44, 45, 60])
def test_as_many_jobs_as_fit(height: int) -> None:
    lines = [line.plain for line in frame(VIEW, KEYS, 80, height)]
    shown = sum("night-" in line for line in lines)
    assert any("and more" in line for line in lines) == (shown < 30)
    assert len(lines) == height or shown == 30


def test_what_is_least_important_makes_room_for_jobs() -> None:
    lines = [line.plain for line in frame(VIEW, KEYS, 80, 10)]
    first = ["host:1", "workers", "arena", "jobs", "received", "id", "0" * 16, "0" * 15 + "1", "…"]
    assert [line.split()[0] for line in lines if line] == first


def bar(**fields: int) -> str:
    return frame(View("host:1", info_of(**fields)), KEYS, 100, 30)[2].plain[10:30]


def test_bars_show_what_there_is_at_all_and_no_more_than_all() -> None:
    assert bar(arena_free_bytes=128 * MIB, arena_reserved_bytes=0) == "░" * 20
    assert bar(arena_free_bytes=128 * MIB - 2, arena_reserved_bytes=1) == "█▓" + "░" * 18
    assert bar(arena_free_bytes=0, arena_reserved_bytes=128 * MIB) == "█" * 20
    assert bar(arena_free_bytes=0, arena_reserved_bytes=128 * MIB - 1) == "█" * 20


@pytest.mark.parametrize(("busy", "colour"), [(2, "green"), (9, "red")])
def test_full_bars_are_red(busy: int, colour: str) -> None:
    line = frame(View("host:1", info_of(busy_workers=busy)), KEYS, 80, 24)[1]
    assert colour in {str(span.style) for span in line.spans}


def test_trouble_stands_above_the_figures() -> None:
    view = View("host:1", info_of(), trouble="no connection", silent_seconds=3)
    assert frame(view, KEYS, 80, 24)[1].plain == "figures of 3 s ago: no connection"


def test_a_terminal_with_few_characters_gets_no_others() -> None:
    view = View("host:1", info_of(), jobs_of(30, key="k" * 100), flows=FLOWS, trouble="über")
    for width in (30, 80):
        assert "".join(line.plain for line in frame(view, KEYS, width, 24, ASCII)).isascii()


def test_nothing_that_a_server_says_moves_the_cursor() -> None:
    (job,) = jobs_of(1, key="a\x1b]0;x\x07\nb")
    view = View("host:1", info_of(version="1\x1b[2J"), (job,), trouble="a\r\nb\x9b2J")
    drawn_lines = [line.plain for line in frame(view, KEYS, 80, 24)]
    for line in (*drawn_lines, *plain_frame(view)):
        assert line.isprintable()


def test_a_plain_frame_tells_everything() -> None:
    lines = list(plain_frame(View("host:1", info_of(), jobs_of(2), has_more_jobs=True, flows=FLOWS, trouble="gone")))
    assert lines[:3] == ["host:1  arraymill 1.2.3  up 0 ms", "figures of 0 ms ago: gone", "workers   3 of 4 busy"]
    assert [line.split()[-1] for line in lines[-3:-1]] == ["night-0", "night-1"]
    assert lines[-1] == "… and more"
    assert list(plain_frame(View("host:1", info_of())))[-1].startswith("sent ")
