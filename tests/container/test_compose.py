"""The compose file as both composes understand it."""

from __future__ import annotations

from pathlib import Path

import pytest
from container.commands import ROOT, first_health, run
from container.stack import IMAGES, PROFILES, Stacks, opened
from container.tools import compose_v1, compose_v2

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

FILE = ("--file", str(ROOT / "docker-compose.yml"))


@pytest.fixture(scope="session")
def plugin(base: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Compose v2."""
    return compose_v2(base, tmp_path_factory.mktemp("compose-v2"))


@pytest.mark.parametrize("profiles", [(), PROFILES])
def test_compose_1_takes_the_file_as_it_is(engine: None, profiles: tuple[str, ...]) -> None:
    assert run(*compose_v1(), *FILE, *profiles, "config", "--quiet") == ""


@pytest.mark.parametrize("profiles", [(), PROFILES])
def test_compose_2_takes_the_file_as_it_is(plugin: list[str], profiles: tuple[str, ...]) -> None:
    assert run(*plugin, *FILE, *profiles, "config", "--quiet") == ""


def test_both_see_the_same_services(plugin: list[str]) -> None:
    assert run(*plugin, *FILE, "config", "--services").split() == ["server"]
    for compose in (compose_v1(), plugin):
        names = run(*compose, *FILE, *PROFILES, "config", "--services").split()
        assert sorted(names) == ["grafana", "load", "prometheus", "server"]


def test_compose_2_brings_up_a_healthy_server_and_a_load_test(
    plugin: list[str], override: Path, stacks: Stacks, reports: Path
) -> None:
    """The images are those that the other tests have built."""
    settings = {"ARRAYMILL_REPORTS": reports, **IMAGES}
    with opened(plugin, override, settings) as stack:
        stack.run("up", "--detach", "--no-build", "server")
        assert first_health(stack.container) == "healthy"
        stack.run("run", "--rm", "-T", "load", "--mix", "sum:64KiB", "--duration", "2s")
    assert sorted(path.name for path in reports.iterdir()) == ["load.html", "load.json"]
