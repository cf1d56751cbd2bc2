"""The public names, and what importing them loads."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import arraymill
import arraymill_proto

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]

HEAVY = (
    "importlib.metadata",
    "tempfile",
    "google.rpc",
    "uvloop",
    "click",
    "rich",
    "msgspec",
    "structlog",
    "multiprocess",
    "arraymill.cli",
    "arraymill_server",
)


def test_all_is_the_list_of_public_names() -> None:
    public = {
        name
        for name, value in vars(arraymill).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }
    assert public | {"__version__"} == set(arraymill.__all__)
    assert list(arraymill.__all__) == sorted(arraymill.__all__)
    assert all(hasattr(arraymill, name) for name in arraymill.__all__)


def test_every_public_thing_is_documented() -> None:
    for name in arraymill.__all__:
        assert name == "__version__" or getattr(arraymill, name).__doc__, name


def test_version() -> None:
    assert arraymill.__version__ == version("arraymill")


def test_names_that_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'arraymill' has no attribute 'nothing'"):
        arraymill.__getattr__("nothing")


DISTRIBUTIONS = {
    "numpy": "numpy",
    "grpc": "grpcio",
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
}
OPTIONAL = {"uvloop", "arraymill", "arraymill_proto"}


def imported(text: str) -> Iterator[str]:
    """The modules that a source imports, wherever it does."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_bare_client_imports_only_what_it_depends_on() -> None:
    """Also late: an import that is missing where an error is explained hides the error."""
    folders = [Path(package.__file__ or "").parent for package in (arraymill, arraymill_proto)]
    sources = [path for folder in folders for path in folder.rglob("*.py") if not {"cli", "load"} & {*path.parts}]
    modules = {module for path in sources for module in imported(path.read_text())}
    foreign = {module for module in modules if module.partition(".")[0] not in {*sys.stdlib_module_names, *OPTIONAL}}
    needed = {DISTRIBUTIONS[next(known for known in DISTRIBUTIONS if module.startswith(known))] for module in foreign}
    declared = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert needed == declared


def test_importing_loads_nothing_heavy() -> None:
    code = f"""
import numpy, grpc, sys
before = set(sys.modules)
import arraymill, threading
print(*(set({HEAVY!r}) & (set(sys.modules) - before)), threading.active_count())
"""
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert loaded == ["1"]
