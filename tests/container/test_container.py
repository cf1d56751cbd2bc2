"""The image and the compose file, on a real engine."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from container.commands import first_health, run
from container.stack import Stack

import arraymill as am

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

LOOK_AROUND = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
shm = os.statvfs("/dev/shm")
print(json.dumps({
    "uid": os.getuid(),
    "gid": os.getgid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": int(status["NoNewPrivs"]),
    "read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
    "shm": shm.f_blocks * shm.f_frsize,
}))
"""


def test_the_service_becomes_healthy_by_its_own_command(service: Stack) -> None:
    assert first_health(service.container) == "healthy"


def test_a_job_goes_through_the_published_port(service: Stack) -> None:
    assert first_health(service.container) == "healthy"
    x = np.random.default_rng(7).standard_normal((3000, 1000))
    with am.Client(f"127.0.0.1:{service.port}") as mill:
        assert np.allclose(mill.sum(x, axis=0), x.sum(axis=0))
        root = mill.transform("sqrt", abs(x))
    assert np.array_equal(root, np.sqrt(abs(x)))


def test_the_server_holds_no_rights(service: Stack) -> None:
    seen = run("docker", "exec", service.container, "python", "-c", LOOK_AROUND)
    assert json.loads(seen) == {
        "uid": 10001,
        "gid": 10001,
        "capabilities": 0,
        "no_new_privileges": 1,
        "read_only": True,
        "shm": 320 * 2**20,
    }


def test_the_image_alone_is_healthy_and_stops_cleanly(image: str) -> None:
    container = run("docker", "run", "--detach", "--shm-size=320m", "--env=ARRAYMILL_ARENA=256MiB", image).strip()
    try:
        assert first_health(container) == "healthy"
        run("docker", "stop", "--time=40", container)
        assert run("docker", "inspect", "--format={{.State.ExitCode}} {{.State.OOMKilled}}", container).split() == [
            "0",
            "false",
        ]
    finally:
        run("docker", "rm", "--force", container)


def test_too_small_a_shm_is_refused_with_both_numbers_and_the_fix(image: str) -> None:
    command = ["docker", "run", "--rm", "--shm-size=64m", "--env=ARRAYMILL_ARENA=256MiB", image]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode not in {0, 125, 126, 127, 137}
    last = refused.stderr.strip().splitlines()[-1]
    assert "64" in last
    assert "256" in last
    assert "shm_size" in last


SHARE = """
import numpy as np
import arraymill as am

x = np.random.default_rng(7).random(3_000_000)
with am.Client("unix:/there/socket") as mill:
    mine = mill.empty(x.shape)
    assert not isinstance(mine.base, type(None)), "it is ordinary memory"
    mine[:] = x
    assert np.array_equal(mill.transform("sqrt", mine, out=mine), np.sqrt(x))
    np.testing.assert_allclose(mill.sum(x), x.sum())
print("shared")
"""


def test_containers_that_share_the_folder_of_a_socket_share_memory(image: str, tmp_path: Path) -> None:
    """The client sees the folder under another name, and has a network of its own."""
    tmp_path.chmod(0o777)
    folder, network = f"--volume={tmp_path}", "--network=none"
    options = ["--shm-size=320m", "--env=ARRAYMILL_ARENA=256MiB", network, f"{folder}:/run/arraymill"]
    command = ["serve", "--listen", "unix:/run/arraymill/socket"]
    container = run("docker", "run", "--detach", *options, image, *command).strip()
    try:
        socket = tmp_path / "socket"
        end = time.monotonic() + 60
        while not socket.is_socket() and time.monotonic() < end:
            time.sleep(0.1)
        said = run("docker", "run", "--rm", network, f"{folder}:/there", "--entrypoint=python", image, "-c", SHARE)
        assert said.strip() == "shared"
    finally:
        run("docker", "rm", "--force", container)
