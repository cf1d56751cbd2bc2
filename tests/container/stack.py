"""A project of compose: the repository's file with images of the tests, under a name and ports of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container.commands import ROOT, first_health, free_port, run

IMAGES = {"ARRAYMILL_IMAGE": "arraymill-test-image", "ARRAYMILL_LOAD_IMAGE": "arraymill-test-load"}
"""Tags of the images under test, by the variables that the compose file reads."""

PROFILES = ("--profile", "load", "--profile", "observe")


@dataclass(frozen=True)
class Stack:
    """A project and how to speak of it."""

    compose: tuple[str, ...]
    """The command, with its project and its files."""
    env: Mapping[str, str]
    """What the compose file reads."""

    @property
    def port(self) -> int:
        """Where this machine reaches the server, on the loopback."""
        return int(self.env["ARRAYMILL_PORT"])

    @property
    def container(self) -> str:
        """The id of the server's container."""
        return self.id_of("server")

    def id_of(self, service: str) -> str:
        """The id of a service's container."""
        return self.run("ps", "--quiet", service).strip()

    def run(self, *arguments: str, seconds: float = 120) -> str:
        """Run a command of compose to its end."""
        return run(*self.compose, *PROFILES, *arguments, seconds=seconds, env=self.env)

    def up(self, *services: str) -> None:
        """Start services; of a server wait until it is healthy."""
        self.run("up", "--detach", "--no-build", *services)
        if "server" in services:
            assert first_health(self.container) == "healthy"

    @contextmanager
    def load(self, arguments: str) -> Generator[subprocess.Popen[str]]:
        """Run a load test beside the block; it is under way when the block begins."""
        before = ended_well(self.container)
        command = [*self.compose, *PROFILES, "run", "--rm", "-T", "load", *arguments.split()]
        with subprocess.Popen(
            command, env={**os.environ, **self.env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                wait_until(lambda: ended_well(self.container) > before + 50 or process.poll() is not None)
                assert process.poll() is None, f"the load test has ended early:\n{process.communicate()[0]}"
                yield process
            finally:
                process.kill()


Stacks = Callable[..., AbstractContextManager[Stack]]
"""Opens projects; its keywords are what the compose file reads."""


@contextmanager
def opened(compose: list[str], override: Path, env: Mapping[str, object]) -> Generator[Stack]:
    """A project that is gone, with its volumes, after the block."""
    name = f"arraymill-test-{secrets.token_hex(4)}"
    files = ("--file", str(ROOT / "docker-compose.yml"), "--file", str(override))
    ports = ("ARRAYMILL_PORT", "ARRAYMILL_BULK_PORT", "ARRAYMILL_PROMETHEUS_PORT", "ARRAYMILL_GRAFANA_PORT")
    settings = {**IMAGES, **{port: str(free_port()) for port in ports}, **{key: str(text) for key, text in env.items()}}
    stack = Stack((*compose, "--project-name", name, *files), settings)
    try:
        yield stack
    finally:
        stack.run("down", "--volumes", "--remove-orphans", "--timeout", "45")


def info(container: str) -> dict[str, Any]:
    """What the server in a container tells of itself."""
    told: dict[str, Any] = json.loads(run("docker", "exec", container, "arraymill", "info", "--json"))
    return told


def ended_well(container: str) -> int:
    """How many jobs a server has done."""
    return int(info(container)["ended_jobs"].get("succeeded", 0))


def inspect(container: str, template: str) -> str:
    """One fact of a container, or of an image."""
    return run("docker", "inspect", f"--format={template}", container).strip()


def wait_until(is_so: Callable[[], bool], *, seconds: float = 60) -> None:
    """Ask until it is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)


def kill(container: str) -> None:
    """Kill a container's first process as the kernel would: the engine, told to do it, would not start it again."""
    pid = inspect(container, "{{.State.Pid}}")
    rights = ("--pid=host", "--user=0", "--cap-drop=ALL", "--cap-add=KILL", "--entrypoint=sh")
    run("docker", "run", "--rm", *rights, IMAGES["ARRAYMILL_IMAGE"], "-c", f"kill -9 {pid}")
