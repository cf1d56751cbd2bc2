"""The id of a submitted job, as the command line tells it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest

from arraymill import AsyncJob
from arraymill.cli._job import ShownId
from arraymill.cli._options import Settings


@pytest.mark.parametrize("as_json", [False, True])
def test_a_new_id_is_told_once(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Who comes back later with the first one would find nothing."""
    job = SimpleNamespace(id="first")
    shown = ShownId(Settings(None, None, quiet=True, as_json=as_json), cast("AsyncJob", job))
    shown.update()
    job.id = "second"
    shown.update()
    shown.update()
    captured = capsys.readouterr()
    if as_json:
        assert [json.loads(line) for line in captured.out.splitlines()] == [
            {"id": "first"},
            {"id": "second", "replaces": "first"},
        ]
        assert captured.err == ""
    else:
        assert captured.out == "first\n"
        assert captured.err == ("arraymill: job first went with its server; it was submitted again and is second now\n")
