"""Whole commands: what an import takes, and a server from its start until it answers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

import arraymill as am
from suite.descent import descendants
from suite.processes import arraymill_command, server_process
from suite.task import Figures, Run, Task, Works, one_by_one
from suite.usage import running_seconds

WORKERS: Final = 2
BYTES: Final = 16 << 20
"""Of the array that each client of an idle server has summed before."""


@contextmanager
def _import(task: Task) -> Iterator[Run]:
    command = [sys.executable, "-c", task.options["statement"]]
    yield one_by_one(lambda: subprocess.run(command, check=True) and None, task.jobs)


@contextmanager
def _start(task: Task) -> Iterator[Run]:
    def start() -> None:
        with server_process(arraymill_command(WORKERS)) as (address, _), grpc.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                raise RuntimeError(f"the server says {answer}")

    yield one_by_one(start, task.jobs)


@contextmanager
def _idle(task: Task) -> Iterator[Run]:
    """See what the server does when its clients, which have all had a job, want nothing more."""
    with server_process(arraymill_command(WORKERS)) as (address, pid), ExitStack() as stack:
        for _ in range(task.clients):
            stack.enter_context(am.Client(address)).sum(np.ones(BYTES // 8))

        def used() -> float:
            return sum(map(running_seconds, [pid, *descendants(pid)]))

        def idle() -> tuple[Figures, None]:
            begin, before = time.monotonic(), used()
            time.sleep(task.options["idle_seconds"])
            seconds = time.monotonic() - begin
            return {"seconds": seconds, "cores": (used() - before) / seconds}, None

        yield idle


WORKS: Works = {"import": _import, "start": _start, "idle": _idle}
