"""Names of metrics follow the conventions, and `server/DESIGN.md` shows them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arraymill_server.metrics.families import FAMILIES, Family, Kind

DESIGN = Path(__file__).parents[4] / "server" / "DESIGN.md"


def table() -> str:
    rows = [f"| `{each.name}` | {each.kind} | {', '.join(each.labels) or '–'} | {each.help} |" for each in FAMILIES]
    return "\n".join(["| metric | kind | labels | what it tells |", "| --- | --- | --- | --- |", *rows])


def test_the_design_notes_show_the_table() -> None:
    found = re.search(r"<!-- metrics -->\n(.*?)\n<!-- end -->", DESIGN.read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == table(), f"write this into {DESIGN.name}:\n{table()}"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_name_follows_the_conventions(family: Family) -> None:
    assert re.fullmatch(r"arraymill(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert not re.search(r"milli|micro|_ms|_kib|_mib|percent", family.name.removeprefix("arraymill"))
    assert family.help.endswith(".")
    assert len(set(family.labels)) == len(family.labels) <= 3


def test_no_name_comes_twice() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
