"""The commands of the container tests, and the base image that this machine can get."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, seconds: float = 60, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed; a failure shows all of it."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(env or {})}, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} gave {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def succeeds(*command: str) -> bool:
    """Tell whether a command exists and ends well."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0


def missing(what: str) -> NoReturn:
    """Skip for want of something, or fail where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def bootstrapped(folder: Path) -> str:
    """A stand-in for the official image where no image registry can be reached: Debian's own Python.

    The tree is made in memory, in a mount namespace of its own: no disk, and nothing to clean up.
    """
    name = "arraymill-test-bootstrap"
    if succeeds("docker", "image", "inspect", name):
        return name
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        missing("the base image cannot be pulled; a stand-in needs root and debootstrap")
    script = f"""
        mount -t tmpfs -o mode=755 tmpfs {folder}
        debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates trixie {folder} >&2
        tar --create --directory {folder} . | docker import - {name}
    """
    run("unshare", "--mount", "sh", "-ec", script, seconds=400)
    return name


def certificates() -> Path:
    """The bundle of certificate authorities that this machine trusts."""
    named = [os.environ.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE")]
    known = [*named, ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt"]
    return next(Path(path) for path in known if path and Path(path).is_file())


def pip_settings() -> str:
    """A pip.conf that finds packages where this machine finds them."""
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt"]
    listed = run(sys.executable, "-m", "pip", "config", "list")
    for key, value in re.findall(r"^(?:global|:env:)\.(index-url|trusted-host|proxy)='(.*)'$", listed, re.MULTILINE):
        lines.append(f"{key} = {value}")
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A port of the loopback that nobody holds now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def compose_command() -> list[str]:
    """The command of whichever compose is installed."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if succeeds(*command, "version"):
            return command
    missing("neither `docker compose` nor docker-compose is installed")


def first_health(container: str, *, seconds: int = 90) -> str:
    """Wait for the engine's first verdict on a container: healthy or unhealthy."""
    now = time.time()
    since, until = f"--since={int(now) - seconds}", f"--until={int(now) + seconds}"
    filters = ["--filter", f"container={container}", "--filter", "event=health_status"]
    with subprocess.Popen(
        ["docker", "events", since, until, *filters, "--format", "{{.Status}}"], stdout=subprocess.PIPE, text=True
    ) as events:
        assert events.stdout is not None
        verdict = events.stdout.readline()
        events.kill()
    return verdict.partition(": ")[2].strip() or f"no verdict within {seconds} s"
