"""The profile `load`: a load test from a container of its own, and what happens to the server in the middle of it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from container.commands import run
from container.stack import Stacks, info, inspect, kill, wait_until

import arraymill as am

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

MIX = "--mix sum:1MiB,sqrt:64KiB*3 --clients 8 --check 10 --warm-up 0s"

ELEMENTS = 100_000

ENDS = (0, 4)
"""Exit codes of a load test whose server goes and comes back: 4 where that took more than its 10 s of patience."""

SOCKET = "unix:/run/arraymill/socket"


def only_step(folder: Path) -> dict[str, Any]:
    """What a report tells of its one step."""
    (step,) = json.loads((folder / "load.json").read_text())["steps"]
    found: dict[str, Any] = step
    return found


def assert_clean(step: dict[str, Any]) -> None:
    assert step["jobs"] > 50
    assert step["errors"] == {}
    assert step["checked"] > 0
    assert step["wrong"] == 0


def assert_interrupted(step: dict[str, Any]) -> None:
    """The load tester asks once: what it could not send for want of a server is told, and nothing else is wrong."""
    assert step["jobs"] > 0
    assert set(step["errors"]) <= {"ConnectionFailedError"}
    assert step["wrong"] == 0


def test_the_profile_leaves_a_report_on_the_host(stacks: Stacks, reports: Path) -> None:
    """Everything in one command: a healthy server, the test, its exit code, and the end."""
    with stacks(ARRAYMILL_REPORTS=reports, ARRAYMILL_LOAD_ARGS=f"{MIX} --duration 4s") as stack:
        stack.run("up", "--no-build", "--exit-code-from", "load", "server", "load")
    assert_clean(only_step(reports))
    assert (reports / "load.html").read_text().lower().startswith("<!doctype html>")
    names = {path.name: path.stat().st_uid for path in reports.iterdir()}
    assert names == dict.fromkeys(("load.html", "load.json"), reports.stat().st_uid)


def test_memory_is_shared_through_the_volume_of_the_socket(stacks: Stacks, reports: Path) -> None:
    with stacks(ARRAYMILL_REPORTS=reports, ARRAYMILL_LOAD_SERVER=SOCKET, ARRAYMILL_REPORT="shared") as stack:
        stack.up("server")
        stack.run("run", "--rm", "-T", "load", "--clients", "4", "--duration", "3s", "--mix", "sum:16MiB")
        told = info(stack.container)
        assert told["received_bytes"]["memory"] > 16 * 2**20
        assert not told["received_bytes"].get("bulk")
    assert (reports / "shared.json").exists()


def test_a_server_that_is_killed_in_the_middle_comes_back(stacks: Stacks, reports: Path) -> None:
    with stacks(ARRAYMILL_REPORTS=reports) as stack:
        stack.up("server")
        container = stack.container
        with stack.load(f"{MIX} --duration 30s") as load:
            kill(container)
            wait_until(lambda: inspect(container, "{{.RestartCount}} {{.State.Health.Status}}") == "1 healthy")
            with am.Client(f"127.0.0.1:{stack.port}") as mill:
                assert mill.sum(np.ones(ELEMENTS)) == ELEMENTS
            said, _ = load.communicate(timeout=90)
        assert load.returncode in ENDS, said
    assert_interrupted(only_step(reports))


def test_stopping_under_load_fails_no_call_of_an_ordinary_client(stacks: Stacks, reports: Path) -> None:
    """Within its time the server ends what it has; clients ask again until the next one is there, unless told not to.

    The load tester is told not to: its report has the refusals.
    """
    with stacks(ARRAYMILL_REPORTS=reports) as stack:
        stack.up("server")
        container = stack.container
        with stack.load(f"{MIX} --duration 20s") as load, steady_sums(stack.port) as sums:
            begun = int(time.time())
            run("docker", "restart", "--time=40", container)
            before = len(sums)
            wait_until(lambda: len(sums) > before + 5)
            said, _ = load.communicate(timeout=90)
        assert exit_codes(container, begun) == ["0"]
        assert load.returncode in ENDS, said
    assert set(sums) == {float(ELEMENTS)}
    assert_interrupted(only_step(reports))


def exit_codes(container: str, since: int) -> list[str]:
    """With what a container's first process ended, each time."""
    span = (f"--since={since}", f"--until={int(time.time()) + 1}", f"--filter=container={container}")
    return run("docker", "events", *span, "--filter=event=die", "--format={{.Actor.Attributes.exitCode}}").split()


@contextmanager
def steady_sums(port: int) -> Generator[list[float]]:
    """Sum ones beside the block, one call after the other; a call that fails fails the test."""
    sums, ended = list[float](), threading.Event()

    def work() -> None:
        with am.Client(f"127.0.0.1:{port}") as mill:
            while not ended.is_set():
                sums.append(float(mill.sum(np.ones(ELEMENTS))))

    with ThreadPoolExecutor(1, thread_name_prefix="arraymill-test") as pool:
        done = pool.submit(work)
        try:
            yield sums
        finally:
            ended.set()
            done.result(60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_folder_that_cannot_be_written_is_refused_before_the_test(stacks: Stacks, reports: Path) -> None:
    reports.chmod(0o555)
    with stacks(ARRAYMILL_REPORTS=reports) as stack:
        stack.up("server")
        with pytest.raises(AssertionError, match="cannot be written by its owner, user 4321"):
            stack.run("run", "--rm", "-T", "load")
        assert info(stack.container)["ended_jobs"].get("succeeded", 0) == 0
