"""What tools/docs.py writes, and where."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import arraymill as am

ROOT: Final = Path(__file__).parents[3]
TOOL: Final[dict[str, Any]] = runpy.run_path(str(ROOT / "tools" / "docs.py"))
SECTIONS: Final[dict[str, dict[str, Callable[[], str]]]] = TOOL["SECTIONS"]


@pytest.mark.parametrize("page", SECTIONS)
def test_a_page_tells_what_the_code_says(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for title, render in SECTIONS[page].items():
        assert TOOL["updated"](text, title, render()) == text, "run python tools/docs.py"


def test_only_what_is_between_the_marks_is_replaced() -> None:
    begin, end = "<!-- a: python tools/docs.py writes this -->\n", "<!-- end of a -->\n"
    assert TOOL["updated"](f"x\n{begin}old\n{end}y\n", "a", "new\n") == f"x\n{begin}\nnew\n\n{end}y\n"
    with pytest.raises(ValueError, match="no lines"):
        TOOL["updated"]("x\n", "a", "new\n")


def test_every_error_of_the_table_can_be_caught_by_its_name() -> None:
    names = [line.split("`")[1] for line in SECTIONS["client.md"]["errors"]().splitlines()[2:]]
    assert [name for name in names if name not in am.__all__] == []


def test_every_alert_is_told() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    assert SECTIONS["deployment.md"]["alerts"]().count("\n| `") == rules.count("- alert: ")
