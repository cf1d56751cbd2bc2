"""The service that most people would write: one gRPC message with the bytes, and a pool that maps over parts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from suite.data import numbers
from suite.processes import peer_command, server_process
from suite.servers.naive import METHOD, OPTIONS
from suite.task import Run, Task, Works, all_at_once, one_by_one


@contextmanager
def _caller(name: str) -> Iterator[Any]:
    with (
        server_process(peer_command("naive")) as (address, _),
        grpc.insecure_channel(address, options=OPTIONS) as channel,
    ):
        grpc.channel_ready_future(channel).result(timeout=30)
        method: Any = channel.unary_unary(METHOD.format(name))
        yield lambda x: np.frombuffer(method(x.tobytes()))


@contextmanager
def _number(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _caller(task.work) as call:
        yield one_by_one(lambda: float(call(x)[0]), task.jobs)


@contextmanager
def _sqrt(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _caller("sqrt") as call:
        yield one_by_one(lambda: call(x), task.jobs)


@contextmanager
def _burst(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _caller("sum") as call, ThreadPoolExecutor(task.in_flight) as threads:

        def job(_: int) -> float:
            return float(call(x)[0])

        yield all_at_once(lambda: list(threads.map(job, range(task.jobs))), task.jobs)


WORKS: Works = {"sum": _number, "mean": _number, "sqrt": _sqrt, "burst": _burst}
