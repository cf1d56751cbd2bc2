"""PyTriton: a Python function behind NVIDIA's Triton server, asked over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import local
from typing import Any, Final

from pytriton.client import ModelClient

from suite.data import numbers
from suite.processes import peer_command, server_process
from suite.task import Run, Task, Works, all_at_once, one_by_one

SECONDS: Final = 300.0


@contextmanager
def _server() -> Iterator[str]:
    with server_process(peer_command("triton")) as (address, _):
        yield f"grpc://{address}"


def _client(address: str, model: str) -> Any:
    return ModelClient(address, model, init_timeout_s=SECONDS, inference_timeout_s=SECONDS)


@contextmanager
def _one_shot(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _server() as address, _client(address, task.work) as client:
        yield one_by_one(lambda: _answer(client.infer_sample(x)["y"], task), task.jobs)


def _answer(y: Any, task: Task) -> Any:
    """Return a number as one: a tensor of Triton's has an axis."""
    return y if task.work == "sqrt" else float(y[0])


@contextmanager
def _burst(task: Task) -> Iterator[Run]:
    """Threads with a client each: PyTriton's client is not one for several threads."""
    x, mine = numbers(task.nbytes), local()
    with _server() as address, ThreadPoolExecutor(task.in_flight) as threads:

        def job(_: int) -> float:
            if not hasattr(mine, "client"):
                mine.client = _client(address, "sum")
            return float(mine.client.infer_sample(x)["y"][0])

        yield all_at_once(lambda: list(threads.map(job, range(task.jobs))), task.jobs)


WORKS: Works = {"sum": _one_shot, "mean": _one_shot, "sqrt": _one_shot, "burst": _burst}
