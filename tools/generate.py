"""Generate the Python code of the contract from its .proto files.

    python tools/generate.py              write the generated code beside the .proto files
    python tools/generate.py DIRECTORY    write it below another directory
    python tools/generate.py --check      compare it with the committed code; exit code 1 when they differ

Needs the dependency group `generate`: grpcio-tools is pinned there, because what newer ones write does not run with
older grpcio and protobuf packages. It has no wheel for Python 3.14; there --check says so and passes, except in CI.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "proto"
SOURCES = sorted(path.relative_to(ROOT) for path in ROOT.glob("arraymill_proto/v*/*.proto"))
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(target: Path) -> None:
    """Write the generated code below `target`, at its import path."""
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    protoc = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", *outputs, *map(str, SOURCES)], cwd=ROOT, check=False
    )
    if protoc.returncode != 0:
        sys.exit(f"protoc ended with {protoc.returncode}")


def generated() -> list[Path]:
    """Return the paths of all generated files, relative to their root."""
    return [source.with_name(source.stem + suffix) for source in SOURCES for suffix in SUFFIXES]


def stale(fresh: Path) -> list[Path]:
    """Return the committed files that differ from those generated below `fresh`."""
    return [
        path
        for path in generated()
        if not (ROOT / path).is_file() or not filecmp.cmp(ROOT / path, fresh / path, shallow=False)
    ]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the contract.")
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT, help="where to write (default: in place)")
    parser.add_argument("--check", action="store_true", help="only compare with the committed code")
    arguments = parser.parse_args()
    if find_spec("grpc_tools") is None:
        print(f"not possible: no grpcio-tools in {sys.executable}; Python 3.11 to 3.13 can have it", file=sys.stderr)
        sys.exit(0 if arguments.check and not os.environ.get("CI") else 1)
    if not arguments.check:
        generate(arguments.directory.resolve())
        return
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        if differing := stale(Path(temporary)):
            names = ", ".join(map(str, differing))
            sys.exit(f"generated code is out of date: {names}; run python tools/generate.py")


if __name__ == "__main__":
    main()
