"""What must hold of the repository as a whole: its layout, its texts, its pins and its packages."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMPORT_ROOTS = {"client": "arraymill", "server": "arraymill_server", "proto": "arraymill_proto"}
UNWATCHED = {".git", ".venv", "__pycache__", "build", "dist", ".hypothesis", "local", "node_modules"}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
REGISTRIES = re.compile(r"pypi\.org|python[h]osted|npmjs\.|debian\.org|docker\.io/|index-url\s+http")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|root|home|Users)/[\w.]")


@cache
def texts() -> list[tuple[Path, str]]:
    """Every text of the repository, by its path in it."""
    return list(read_texts())


def read_texts() -> Iterator[tuple[Path, str]]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in UNWATCHED and not name.endswith("_cache")]
        for path in (Path(folder, name) for name in names):
            try:
                yield path.relative_to(ROOT), path.read_text()
            except UnicodeDecodeError:
                continue


def sources() -> Iterator[tuple[Path, str]]:
    """Every Python file that people write."""
    return ((path, text) for path, text in texts() if path.suffix == ".py" and not GENERATED.search(path.name))


def python(code: str, cwd: Path) -> str:
    """Run code in a fresh interpreter that sees what is installed and nothing else."""
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("root", "package"), IMPORT_ROOTS.items())
def test_an_import_root_holds_one_package_and_no_module(root: str, package: str) -> None:
    packages = {path.name for path in (ROOT / root).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages == {package}
    assert not [path.name for path in (ROOT / root).iterdir() if path.suffix in {".py", ".pyi"}]


def test_the_generic_names_are_not_importable(tmp_path: Path) -> None:
    code = "from importlib.util import find_spec as f; print(f('client'), f('server'), f('arraymill') is not None)"
    assert python(code, tmp_path).split() == ["None", "None", "True"]


def test_the_wheel_holds_the_three_packages_typed_and_with_the_contract(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(IMPORT_ROOTS.values())
    assert {f"{package}/py.typed" for package in IMPORT_ROOTS.values()} <= set(names)
    assert "arraymill_proto/v1/arraymill.proto" in names
    page = {"page/report.html", "page/report.css", "page/report.js", "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css"}
    assert {f"arraymill/load/{name}" for name in (*page, "vendor/LICENSE.uPlot")} <= set(names)


def test_no_text_names_a_package_registry() -> None:
    assert not [str(path) for path, text in texts() if REGISTRIES.search(text)]


def test_no_text_carries_a_path_of_one_machine() -> None:
    assert not [f"{path}: {found[0]}" for path, text in texts() if (found := MACHINE_PATHS.search(text))]


def test_no_file_is_too_long_to_read() -> None:
    assert not [f"{path}: {lines}" for path, text in sources() if (lines := text.count("\n")) > MAX_FILE_LINES]


def test_no_function_is_too_long_to_read() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path, text in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long


def pins(name: str) -> dict[str, str]:
    """The version of every package that a requirements file pins; every pin has hashes."""
    text = (ROOT / "requirements" / name).read_text()
    entries = re.findall(
        r"^([\w.-]+)==(\S+)[^\n]*\\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    assert len(entries) == len(re.findall(r"^\w", text, re.MULTILINE)), f"{name} has a pin without hashes"
    return {canonicalize_name(package): version for package, version, _ in entries}


def wanted(*, extras: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> list[Requirement]:
    """What pyproject.toml asks for; with an extra also what the bare package needs."""
    project = PROJECT["project"]
    lines: list[str] = [*project["dependencies"]] if extras else []
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    for group in groups:
        lines += PROJECT["dependency-groups"][group]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("dev.txt", wanted(extras=("server", "cli", "demo"), groups=("build", "generate", "test", "check"))),
        ("server.txt", wanted(extras=("server", "cli"))),
        ("build.txt", wanted(groups=("build",))),
        ("container.txt", wanted(groups=("container",))),
        ("bench.txt", wanted(groups=("bench",))),
        ("bench-triton.txt", wanted(groups=("bench-triton",))),
    ],
)
def test_the_pins_are_what_the_project_asks_for(name: str, requirements: list[Requirement]) -> None:
    pinned = pins(name)
    stale = [str(r) for r in requirements if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))]
    assert not stale, "run make lock"


@pytest.mark.parametrize("name", ["server.txt", "build.txt", "bench.txt"])
def test_what_is_deployed_is_what_was_tested(name: str) -> None:
    tested = pins("dev.txt")
    assert {package: tested.get(package, version) for package, version in pins(name).items()} == pins(name)


def test_every_extra_and_group_is_pinned_somewhere() -> None:
    assert set(PROJECT["project"]["optional-dependencies"]) == {"server", "cli", "load", "demo", "all"}
    assert set(PROJECT["dependency-groups"]) == {
        *("build", "generate", "test", "check", "container", "bench", "bench-triton")
    }


def test_the_bare_client_loads_nothing_of_the_extras(tmp_path: Path) -> None:
    loaded = set(python("import sys, arraymill; print(*{m.partition('.')[0] for m in sys.modules})", tmp_path).split())
    extras = {"click", "rich", "msgspec", "multiprocess", "structlog", "uvloop"}  # gRPC itself loads grpc_health
    heavy = loaded & (extras | {"arraymill_server"})
    assert not heavy


def test_a_worker_loads_tasks_and_memory_only(tmp_path: Path) -> None:
    code = "import sys, arraymill_server.engine.worker; print(*(m for m in sys.modules if m.startswith('arraymill')))"
    known = re.compile(
        r"arraymill_proto(\.errors|\.memory)?"
        r"|arraymill_server(\.arena|\.arena\.(attach|memory|segments)|\.ops(\.\w+)?|\.engine|\.plan)?"
        r"|arraymill_server\.engine\.(worker|messages|outcome|perform|pipe|processes)"
        r"|arraymill_server\.plan\.(program|interpreter|blocks|layout|sinks)"
    )
    assert not [name for name in python(code, tmp_path).split() if not known.fullmatch(name)]
