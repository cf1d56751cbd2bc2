"""What is in the images, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from container.commands import ROOT, run
from container.tools import hadolint

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

BUILD_TOOLS = "pip pip3 wheel uv cc gcc g++ c++ clang make cmake ld as cargo"

LOOK_FOR_TOOLS = """
import importlib.util, shutil, sys
modules = ("pip", "ensurepip", "setuptools", "wheel", "hatchling", "hdrh", "prometheus_client")
print(*filter(shutil.which, sys.argv[1:]), *filter(importlib.util.find_spec, modules))
"""

LARGEST = 130 * 10**6
"""What the server may add to its base, in bytes: 110 MB of pinned packages, most of it NumPy and gRPC, and our 5."""


def config(image: str) -> dict[str, Any]:
    """How an image is run."""
    (told,) = json.loads(run("docker", "image", "inspect", image))
    found: dict[str, Any] = told["Config"]
    return found


def inside(image: str, *command: str) -> list[str]:
    """The words that a program in an image prints."""
    return run("docker", "run", "--rm", "--network=none", f"--entrypoint={command[0]}", image, *command[1:]).split()


def test_the_servers_image_holds_no_tools_to_build_or_install_with(image: str) -> None:
    for python in ("python", "/usr/bin/env", "python3"):
        command = (python, "python3") if python == "/usr/bin/env" else (python,)
        assert inside(image, *command, "-c", LOOK_FOR_TOOLS, *BUILD_TOOLS.split()) == ["prometheus_client"]


def test_the_load_testers_image_holds_what_it_needs_and_no_server(load_image: str) -> None:
    assert inside(load_image, "python", "-c", LOOK_FOR_TOOLS, *BUILD_TOOLS.split()) == ["setuptools", "hdrh"]
    assert inside(load_image, "arraymill", "load", "--help")[0] == "Usage:"


def test_the_base_interpreter_has_lost_them_as_well(image: str) -> None:
    names = ("pip", "pip3", "ensurepip", "pip-*.whl", "pip-*.dist-info", "setuptools")
    options = " -o ".join(f"-name '{name}'" for name in names)
    assert inside(image, "sh", "-c", rf"find / -xdev \( {options} \) 2>/dev/null || true") == []


def test_the_image_is_small(image: str, base: str) -> None:
    sizes = [int(run("docker", "image", "inspect", "--format={{.Size}}", name)) for name in (image, base)]
    assert sizes[0] - sizes[1] < LARGEST


def test_the_images_start_programs_and_no_shell_and_not_as_root(image: str, load_image: str) -> None:
    server, load = config(image), config(load_image)
    assert server["Entrypoint"] == ["arraymill"]
    assert server["Cmd"] == ["serve", "--listen", "0.0.0.0:50051"]
    assert server["Healthcheck"]["Test"] == ["CMD", "arraymill", "health"]
    assert load["Entrypoint"] == ["arraymill", "load"]
    assert not load["Cmd"]
    assert {server["User"], load["User"]} == {"10001:10001"}


def test_the_labels_tell_what_they_are(image: str, load_image: str, base: str) -> None:
    known = {"title", "description", "version", "licenses", "authors", "base.name"}
    for name, title in ((image, "arraymill"), (load_image, "arraymill-load")):
        labels = {key.removeprefix("org.opencontainers.image."): text for key, text in config(name)["Labels"].items()}
        assert set(labels) == known
        assert labels["title"] == title
        assert labels["base.name"] == base
    assert inside(image, "arraymill", "--version")[-1] == config(image)["Labels"]["org.opencontainers.image.version"]


def test_hadolint_has_no_complaint() -> None:
    assert run(hadolint(), ROOT / "server/Dockerfile") == ""
