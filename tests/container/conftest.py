"""The image under test, built through compose on whatever base this machine can get."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from container.commands import ROOT, bootstrapped, certificates, compose_command, missing, pip_settings, run, succeeds
from container.stack import IMAGES, Stack, Stacks, opened


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine that answers."""
    if not succeeds("docker", "info"):
        missing("no Docker engine answers `docker info`; as root, .ci/run installs and starts one")


@pytest.fixture(scope="session")
def base(engine: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Dockerfile's base with this machine's certificates and package index, so that pip works in builds."""
    (official,) = re.findall(r"^ARG BASE=(\S+)$", (ROOT / "server/Dockerfile").read_text(), re.MULTILINE)
    context = tmp_path_factory.mktemp("base")
    origin = (
        official if succeeds("docker", "pull", "--quiet", official) else bootstrapped(tmp_path_factory.mktemp("tree"))
    )
    shutil.copy(certificates(), context / "ca.crt")
    (context / "pip.conf").write_text(pip_settings())
    (context / "Dockerfile").write_text(
        f"FROM {origin}\nCOPY ca.crt /etc/ssl/certs/ca-certificates.crt\nCOPY pip.conf /etc/pip.conf\n"
    )
    run("docker", "build", "--tag", "arraymill-test-base", context, seconds=120)
    return "arraymill-test-base"


@pytest.fixture(scope="session")
def override(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What compose is told beside the repository's file: the base of the builds."""
    build = {"build": {"args": {"BASE": base}, "network": "host"}}
    file = tmp_path_factory.mktemp("compose") / "override.yml"
    file.write_text(json.dumps({"services": {"server": build, "load": build}}))
    return file


@pytest.fixture(scope="session")
def stacks(override: Path) -> Stacks:
    """Opens projects of the images under test, which are built here; settings are what the compose file reads."""
    with opened(compose_command(), override, {}) as stack:
        stack.run("build", "server", "load", seconds=600)

    def stacked(**settings: object) -> AbstractContextManager[Stack]:
        return opened(compose_command(), override, settings)

    return stacked


@pytest.fixture(scope="session")
def service(stacks: Stacks) -> Iterator[Stack]:
    """The repository's compose file, up as it is."""
    with stacks() as stack:
        stack.run("up", "--detach", "--no-build", "server")
        yield stack


@pytest.fixture(scope="session")
def image(stacks: Stacks) -> str:
    """The image that the server runs."""
    return IMAGES["ARRAYMILL_IMAGE"]


@pytest.fixture(scope="session")
def load_image(stacks: Stacks) -> str:
    """The image of the load tester."""
    return IMAGES["ARRAYMILL_LOAD_IMAGE"]


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A folder of somebody else's, as a container's first process sees the folders of its host."""
    folder = tmp_path / "reports"
    folder.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(folder, 4321, 4321)
    return folder
