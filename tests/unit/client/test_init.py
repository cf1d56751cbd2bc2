"""The public names, and what importing them loads."""

from __future__ import annotations

import subprocess
import sys
import types
from importlib.metadata import version

import pytest

import arraymill

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


def test_importing_loads_nothing_heavy() -> None:
    code = f"""
import numpy, grpc, sys
before = set(sys.modules)
import arraymill, threading
print(*(set({HEAVY!r}) & (set(sys.modules) - before)), threading.active_count())
"""
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert loaded == ["1"]
