"""What a server says about who can reach it."""

from __future__ import annotations

import json

import pytest
from servers import running_server


@pytest.mark.parametrize(
    ("listen", "warned"),
    [(["127.0.0.1:0"], []), (["localhost:0", "0.0.0.0:0"], ["0.0.0.0"])],
)
def test_a_server_that_others_reach_says_so_once(
    listen: list[str], warned: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    options = [option for address in listen for option in ("--listen", address)]
    with running_server(*options, "--log-format", "json", workers=1, arena="48MiB"):
        pass
    entries = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    warnings = [entry for entry in entries if entry["level"] == "warning"]
    assert len(warnings) == bool(warned)
    for entry in warnings:
        assert "asks nobody for a password" in entry["event"]
        assert [address.rpartition(":")[0] for address in entry["addresses"]] == warned


@pytest.mark.parametrize(("host", "warnings"), [("127.0.0.1", 0), ("0.0.0.0", 1)])
def test_metrics_that_others_reach_are_told_with_their_address(
    host: str, warnings: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_server("--metrics-listen", f"{host}:0", "--log-format", "json", workers=1, arena="48MiB"):
        pass
    entries = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    (ready,) = (entry for entry in entries if entry["event"] == "ready")
    at, _, port = ready["metrics"].rpartition(":")
    assert (at, int(port) > 0) == (host, True)
    told = [entry["address"] for entry in entries if entry["level"] == "warning"]
    assert told == [ready["metrics"]] * warnings
