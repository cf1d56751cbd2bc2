"""The Dockerfile tells the same as the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "server/Dockerfile").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def label(name: str) -> list[str]:
    """The values of a label, in the order of the stages."""
    return re.findall(rf'org\.opencontainers\.image\.{name}="([^"]*)"', DOCKERFILE)


def test_the_labels_are_the_projects() -> None:
    assert label("version") == [PROJECT["version"]]
    assert label("licenses") == [PROJECT["license"]]
    assert label("authors") == [author["name"] for author in PROJECT["authors"]]
    assert label("title") == ["arraymill-load", PROJECT["name"]]
    assert label("description")[-1] == PROJECT["description"]


def test_the_server_is_the_last_stage_and_so_the_default_one() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert stages[-2:] == ["load", "server"]


@pytest.mark.parametrize("name", ["build", "server", "load"])
def test_every_package_of_the_image_has_its_hashes_and_no_registry(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    pins = re.findall(r"^[a-z0-9-]+==[^ ]+.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)
    assert "://" not in text


def test_every_installation_of_packages_asks_for_the_hashes() -> None:
    installs = re.findall(r"install .*?(?=&&|\n[A-Z#]|\n\n|\Z)", DOCKERFILE, re.DOTALL)
    pinned = [text for text in installs if "-r " in text]
    assert len(pinned) == 3
    assert all("--require-hashes" in text and "--only-binary :all:" in text for text in pinned)
