"""The limits of the container: what the server makes of them, and that they hold."""

from __future__ import annotations

import os
import subprocess

import pytest
from container.commands import run
from container.stack import Stacks, info, inspect

import arraymill as am

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

MIB = 2**20


def test_workers_and_memory_follow_the_limits(stacks: Stacks) -> None:
    """A quota of 1.2 CPUs is one worker; a quarter of the memory may be shared with clients."""
    with stacks(ARRAYMILL_CPUS="1.2", ARRAYMILL_MEMORY="640m", ARRAYMILL_ARENA="128MiB") as stack:
        stack.up("server")
        told = info(stack.container)
        limits = inspect(stack.container, "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}")
    assert limits.split() == ["1200000000", str(640 * MIB)]
    assert told["workers"] == 1
    assert told["arena_bytes"] == 128 * MIB
    assert told["shared_budget_bytes"] == 160 * MIB


def test_who_takes_too_much_memory_is_killed_and_the_server_goes_on(stacks: Stacks) -> None:
    """The kernel ends the process with the most memory; a server's arena counts as its own."""
    with stacks(ARRAYMILL_MEMORY="640m", ARRAYMILL_ARENA="64MiB") as stack:
        stack.up("server")
        hog = ["docker", "exec", stack.container, "python", "-c", f"bytearray({900 * MIB})"]
        assert subprocess.run(hog, capture_output=True, timeout=120, check=False).returncode == 137
        with am.Client(f"127.0.0.1:{stack.port}") as mill:
            assert mill.sum([1.0, 2.0]) == 3.0
        assert inspect(stack.container, "{{.RestartCount}}") == "0"


def test_settings_are_handed_on(stacks: Stacks) -> None:
    with stacks(ARRAYMILL_WORKERS="3", ARRAYMILL_SHARED_MEMORY="0", ARRAYMILL_RESIDENT_BUDGET="16MiB") as stack:
        stack.up("server")
        told = info(stack.container)
    assert told["workers"] == 3
    assert told["shared_budget_bytes"] == 0
    assert told["resident_budget_bytes"] == 16 * MIB


def test_too_small_a_shm_is_refused_by_compose_too(stacks: Stacks) -> None:
    with stacks(ARRAYMILL_SHM_SIZE="64mb") as stack:
        said = subprocess.run(
            [*stack.compose, "run", "--rm", "-T", "server"],
            env={**os.environ, **stack.env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert said.returncode == 3
    assert "shm_size" in said.stderr


def test_a_stop_has_more_time_than_the_servers_own_grace(stacks: Stacks) -> None:
    """30 s to drain, and 5 s until its watchdog ends it whatever hangs."""
    with stacks() as stack:
        stack.up("server")
        helped = run("docker", "exec", stack.container, "arraymill", "serve", "--help")
        assert "default: 30 s" in helped[helped.index("--drain") :][:200]
        assert int(inspect(stack.container, "{{.Config.StopTimeout}}")) >= 35
