"""Tools of others that the container tests run, from Debian's packages where they are not installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from container.commands import ROOT, missing, run, succeeds


def unpack(packages: str, base: str, folder: Path) -> Path:
    """Unpack packages of the base image's Debian into a folder; installing them could start services."""
    fetch = f"apt-get update -qq; cd /tmp; apt-get download -qq {packages}"
    script = f"{fetch}; for each in *.deb; do dpkg-deb -x $each /out; done"
    options = ("--rm", "--network=host", "--user=0", f"--volume={folder}:/out", "--entrypoint=sh")
    command = ["docker", "run", *options, base, "-ec", f"{script}; chown -R {os.getuid()} /out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode != 0:
        missing(f"Debian's {packages} cannot be had: {done.stderr.strip()[-200:]}")
    return folder


def compose_v1() -> list[str]:
    """The command of Compose 1.29, where the machine's distribution is old enough to have it."""
    if not succeeds("docker-compose", "version") or "version 1." not in run("docker-compose", "version"):
        pytest.skip("docker-compose 1.29 is not installed")
    return ["docker-compose"]


def compose_v2(base: str, folder: Path) -> list[str]:
    """The command of Compose v2: the installed plugin, or Debian's."""
    if succeeds("docker", "compose", "version"):
        return ["docker", "compose"]
    (plugin,) = unpack("docker-compose", base, folder).rglob("cli-plugins/docker-compose")
    assert re.search(r"\bv?2\.", run(plugin, "version"))
    return [str(plugin)]


def hadolint() -> str:
    """The command of hadolint, from requirements/container.txt or wherever it is installed."""
    local = ROOT / ".venv/container/bin/hadolint"
    return str(local) if local.exists() else shutil.which("hadolint") or missing("`make container` installs hadolint")


def playwright_api(patch: pytest.MonkeyPatch) -> Any:
    """The module `playwright.sync_api`, from requirements/container.txt or wherever it is installed."""
    for path in (ROOT / ".venv/container").glob("lib/python*/site-packages"):
        patch.setattr(sys, "path", [*sys.path, str(path)])
    if find_spec("playwright") is None:
        missing("`make container` installs playwright")
    return import_module("playwright.sync_api")
