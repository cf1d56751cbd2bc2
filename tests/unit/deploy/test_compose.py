"""The compose file tells the server what it knows."""

from __future__ import annotations

import re
from pathlib import Path

from arraymill_server.config import ServerConfig, settings

COMPOSE = (Path(__file__).parents[3] / "docker-compose.yml").read_text()


def test_the_compose_file_sets_what_the_server_knows() -> None:
    known = {f"ARRAYMILL_{setting.key.upper()}" for setting in settings()}
    server = COMPOSE[COMPOSE.index("  server:") : COMPOSE.index("  load:")]
    given = set(re.findall(r"^      (ARRAYMILL_[A-Z_]+):", server, re.MULTILINE))
    assert given
    assert given <= known


def test_the_engine_waits_longer_than_the_server_drains() -> None:
    (grace,) = re.findall(r"server:.*?stop_grace_period: (\d+)s.*?\n  load:", COMPOSE, re.DOTALL)
    assert int(grace) >= ServerConfig.from_mapping({}).drain_seconds + 5
