"""The client in Node.js against a real server: the packages of its lock file, its demo, and that this can fail."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from container.commands import free_port, missing, run
from servers import RunningServer, running_server

pytestmark = [pytest.mark.node, pytest.mark.timeout(400)]

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples" / "node"
OLDEST_NODE: Final = 18

UNWRITABLE: Final = """
import { EventEmitter } from 'node:events';
import { StreamedJob } from './job.js';

class Call extends EventEmitter {
  write(message) {
    if (message.frame) throw new Error('no frame may be written');
    return true;
  }
  cancel() {
    console.log('cancelled');
    this.emit('error', Object.assign(new Error('1 CANCELLED'), { code: 1 }));
  }
}

const call = new Call();
const input = { dtype: 'uint8', shape: [8], data: new Uint8Array(8) };
const ended = new StreamedJob(call, [input], 4, () => {}).run({});
const want = (number) => ({ message: 'want', want: { want: number, index: 0, offset: 0, length: 8, order: [] } });
call.emit('data', want(1));
call.emit('data', want(2));
await ended.catch((error) => console.log(error.message));
"""
"""A client whose call takes no frame."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its packages installed, beside the `.proto`."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            missing(f"there is no {program}; on Debian: apt-get install nodejs npm")
    if int(run("node", "--version").removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        missing(f"node is older than {OLDEST_NODE}")
    root = tmp_path_factory.mktemp("node")
    (root / "proto").symlink_to(ROOT / "proto")
    folder = root / "examples" / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode != 0:
        missing(f"npm ci failed: {done.stderr.strip()}")
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server that cannot hold the demo's largest arrays."""
    with running_server(arena="64MiB") as server:
        yield server


def demo(folder: Path, address: str, script: str = "demo.js") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", folder / script, address], capture_output=True, text=True, timeout=120, check=False)


def test_every_kind_of_job_gives_the_right_answer(folder: Path, server: RunningServer) -> None:
    done = demo(folder, server.address)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = re.findall(r"^  async '(.+)'\(mill\)", (EXAMPLE / "demo.js").read_text(), re.MULTILINE)
    assert re.findall(r"^right  (.+) \(\d+ ms\)$", done.stdout, re.MULTILINE) == steps
    assert len(steps) > 8


def test_a_wrong_answer_is_told(folder: Path, server: RunningServer) -> None:
    text = (folder / "demo.js").read_text()
    assert text.count("[-4n]") == 1
    (folder / "wrong.js").write_text(text.replace("[-4n]", "[-5n]"))
    done = demo(folder, server.address, "wrong.js")
    assert done.returncode == 1
    assert re.findall(r"^WRONG  (.+?):", done.stdout, re.MULTILINE) == ["small jobs keep the dtypes of NumPy"]


def test_an_answer_that_cannot_be_written_ends_the_job_on_the_server_as_well(folder: Path) -> None:
    (folder / "unwritable.js").write_text(UNWRITABLE)
    done = demo(folder, "", "unwritable.js")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["cancelled", "no frame may be written"]), done.stderr


def test_what_its_readme_shows(folder: Path, server: RunningServer) -> None:
    (shown,) = re.findall(r"^```js\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (folder / "shown.js").write_text(shown.replace("localhost:50051", server.address))
    done = demo(folder, server.address, "shown.js")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("float64 [ 1000 ] Float64Array(1000) [")


def test_no_server_is_told_in_a_line(folder: Path) -> None:
    done = demo(folder, f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert re.fullmatch(r"UNAVAILABLE: .+\n", done.stderr)


def test_the_lock_file_names_no_registry_and_every_package_has_a_hash() -> None:
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry or "integrity" not in entry] == []
