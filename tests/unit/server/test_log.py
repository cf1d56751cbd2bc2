"""Logging set-up: one format on one stream, whoever logs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from arraymill_server import log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    log.configure(stream=stream)
    log.get_logger("arraymill_server.jobs").info("job done", job="7", bytes=3)
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {"event": "job done", "job": "7", "bytes": 3, "level": "info", "logger": "arraymill_server.jobs"}


def test_text_on_a_terminal() -> None:
    stream = Terminal()
    log.configure(stream=stream)
    log.get_logger("x").warning("low memory", free=3)
    assert "low memory" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_format_can_be_forced() -> None:
    stream = Terminal()
    log.configure(format="json", stream=stream)
    log.get_logger("x").info("one")
    assert lines(stream)[0]["event"] == "one"
    plain = io.StringIO()
    log.configure(format="console", stream=plain)
    log.get_logger("x").info("two")
    assert "two" in plain.getvalue()
    assert "\x1b" not in plain.getvalue()


def test_the_level_holds_for_everybody_and_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    log.configure("debug", stream=first)
    log.configure("warning", stream=second)
    log.get_logger("x").info("quiet")
    logging.getLogger("grpc").info("quiet")
    logging.getLogger("grpc").warning("loud %s", "indeed")
    assert first.getvalue() == ""
    assert [line["event"] for line in lines(second)] == ["loud indeed"]


def test_who_has_many_lines_asks_before() -> None:
    log.configure("debug", stream=io.StringIO())
    assert not log.drops_debug()
    log.configure("info", stream=io.StringIO())
    assert log.drops_debug()
    with capture_logs():
        assert not log.drops_debug()


def test_exceptions_are_one_json_line() -> None:
    stream = io.StringIO()
    log.configure(stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        log.get_logger("x").exception("failed", id="4711")
    (line,) = lines(stream)
    assert line["id"] == "4711"
    assert "broken" in json.dumps(line["exception"])


def test_a_logger_made_before_the_set_up_uses_it() -> None:
    logger = log.get_logger("early")
    stream = io.StringIO()
    log.configure(stream=stream)
    logger.info("late")
    assert lines(stream)[0]["logger"] == "early"


def test_importing_changes_nothing() -> None:
    code = (
        "import logging, structlog; before = (logging.getLogger().handlers[:], structlog.is_configured());"
        "import arraymill_server.log;"
        "assert before == (logging.getLogger().handlers[:], structlog.is_configured()) == ([], False)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
