"""The table of faults, small: `make chaos` runs it in full. No times are held to bounds here."""

from __future__ import annotations

from typing import Final

import pytest
from chaos.machine import NotHereError
from chaos.site import Site
from chaos.table import ROWS, SHARED_OPTIONS
from chaos.trial import Plan, site_of

SEEDS: Final = {name: seed for seed, name in enumerate(ROWS, 1)}
"""Each row has its own, since rows that share a server must not share keys."""

SHARED: Final = [name for name, row in ROWS.items() if row.shares_site]
ALONE: Final = [name for name, row in ROWS.items() if not row.shares_site]


async def run_row(name: str, site: Site | None = None) -> None:
    """Run a row; what it prints is shown when it fails."""
    print(f'{name}: replay with make chaos ARGS="{name} --short --seed {SEEDS[name]}"')
    try:
        figures = await ROWS[name].run(SEEDS[name], is_short=True, site=site)
    except NotHereError as error:
        pytest.skip(str(error))
    untried = [f"{what} {why}" for what, why in figures.items() if why.startswith("not tried")]
    if untried:
        pytest.skip(", ".join(untried))


@pytest.mark.parametrize("name", ALONE)
async def test_a_row_with_its_own_server(name: str) -> None:
    await run_row(name)


async def test_rows_on_one_server() -> None:
    """The first that is broken ends it: what it leaves behind would be held against those after it."""
    async with site_of(Plan(seed=0, limit=0, options=SHARED_OPTIONS)) as site:
        for name in SHARED:
            await run_row(name, site)
