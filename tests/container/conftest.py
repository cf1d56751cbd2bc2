"""The image under test, built through compose on whatever base this machine can get."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from container.commands import (
    ROOT,
    Service,
    bootstrapped,
    certificates,
    compose_command,
    free_port,
    missing,
    pip_settings,
    run,
    succeeds,
)

IMAGE = "arraymill-test-image"


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
def service(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The repository's compose file, built and up, under a project, an image and a port of its own."""
    override = tmp_path_factory.mktemp("compose") / "override.yml"
    override.write_text(json.dumps({"services": {"server": {"build": {"args": {"BASE": base}, "network": "host"}}}}))
    files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(override)]
    compose = [*compose_command(), "--project-name", "arraymill-test", *files]
    port = free_port()
    env = {"ARRAYMILL_IMAGE": IMAGE, "ARRAYMILL_PORT": str(port)}
    run(*compose, "build", seconds=400, env=env)
    try:
        run(*compose, "up", "--detach", "--no-build", env=env)
        yield Service(run(*compose, "ps", "--quiet", env=env).strip(), port)
    finally:
        run(*compose, "down", "--volumes", env=env)


@pytest.fixture(scope="session")
def image(service: Service) -> str:
    """The image that the service runs."""
    return IMAGE
