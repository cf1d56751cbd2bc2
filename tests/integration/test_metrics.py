"""What a server counts is what has happened, whichever way it came, and whatever clients call it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import grpc.aio
import numpy as np
import pytest
from bulk_lane import wait_for_bulk
from calls import refusal
from patience import until
from pools import worker_pids
from scrapes import OPENMETRICS, openmetrics_kinds, samples, scrape
from servers import running_server

import arraymill as am
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.app.server import App
from arraymill_server.config import ServerConfig
from arraymill_server.metrics.counts import OUTCOMES, PHASES
from arraymill_server.metrics.families import FAMILIES
from arraymill_server.quantities import MIB

SMALL: Final = np.arange(1000.0)
LARGE: Final = np.arange(300_000.0)
HUGE: Final = np.arange(1_500_000.0)

HOSTILE: Final = ('x"} 1\n', "sum{}", "\\", "ß" * 50, "a" * 500, "SUM", "", "\x00")


@asynccontextmanager
async def watched(**changes: Any) -> AsyncGenerator[App]:
    """A server in this process that tells its metrics."""
    settings: dict[str, Any] = {
        "listen": ("127.0.0.1:0",),
        "metrics_listen": "127.0.0.1:0",
        "workers": 2,
        "arena_bytes": 64 * MIB,
        "shared_memory_bytes": 256 * MIB,
        "resident_budget_bytes": 16 * MIB,
        "worker_memory_bytes": 256 * MIB,
        **changes,
    }
    app = App(ServerConfig(**settings), lambda: pytest.fail("the server says that it has a defect"))
    await app.start()
    try:
        yield app
    finally:
        assert await app.stop(10, asyncio.Event())


async def told(app: App) -> dict[str, float]:
    return samples(await asyncio.to_thread(scrape, app.monitor.port))


def jobs_in(values: dict[str, float]) -> dict[str, float]:
    """The jobs of a scrape as `operation outcome`, where there were any."""
    begin = "arraymill_jobs_total{operation="
    found: dict[str, float] = {}
    for key, value in values.items():
        if key.startswith(begin) and value:
            operation, _, outcome = key.removeprefix(begin).removesuffix("}").partition(",outcome=")
            found[f"{operation} {outcome}"] = value
    return found


def of(values: dict[str, float], name: str) -> dict[str, float]:
    """The values of a metric with one label that are not 0, by the label."""
    begin = f"arraymill_{name}{{"
    return {
        key.removeprefix(begin).removesuffix("}").partition("=")[2]: value
        for key, value in values.items()
        if key.startswith(begin) and value
    }


async def fails(error: type[Exception], work: Awaitable[object]) -> None:
    with pytest.raises(error):
        await work


async def refused(app: App, *names: str) -> list[str]:
    """Send jobs of one operation, each in two ways, as no client of this library would; return why not."""
    given = pb.Node(input=pb.Input(dtype=pb.FLOAT64, shape=[1], inline=bytes(8)))
    reasons: list[str] = []
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        for name in names:
            graph = pb.Graph(nodes=[given, pb.Node(operation=pb.Operation(name=name, args=[0]))], outputs=[1])
            for method, request, answer in (
                ("Compute", pb.ComputeRequest(graph=graph), pb.ComputeResponse),
                ("SubmitJob", pb.SubmitJobRequest(graph=graph), pb.Job),
            ):
                reasons.append((await refusal(channel, method, request, answer)).reason)
    return reasons


async def test_jobs_that_succeed_are_counted_with_their_times_and_bytes() -> None:
    async with watched() as app, am.AsyncClient(app.addresses[0], bulk=False, shared=False) as mill:
        for _ in range(7):  # the first ones go the long way, then they are played
            await mill.sum(SMALL)
        await mill.compute(am.asarray(SMALL) * 2 + 1)
        await mill.sum(LARGE)
        handle = await mill.put(LARGE)
        assert (await mill.get(handle[:10])).shape == (10,)
        job = await mill.submit(am.asarray(LARGE).max())
        await job.result()
        await until(lambda: app.calls.counts.outcomes["succeeded"] == 13)
        values, info = await told(app), await mill.info()
    assert jobs_in(values) == {
        "sum succeeded": 8,
        "expression succeeded": 1,
        "put succeeded": 1,
        "get succeeded": 2,
        "max succeeded": 1,
    }
    times = dict.fromkeys(PHASES, 13)
    assert of(values, "job_duration_seconds_count") == times
    received = {"inline": 8 * SMALL.nbytes, "grpc": 3 * LARGE.nbytes}
    assert of(values, "received_bytes_total") == received
    assert sum(of(values, "sent_bytes_total").values()) == 7 * 8 + SMALL.nbytes + 8 + 80 + 8
    assert info.ended_jobs == {"succeeded": 13, "failed": 0, "cancelled": 0, "refused": 0}
    assert {way: count for way, count in info.received_bytes.items() if count} == received
    assert {way: count for way, count in info.sent_bytes.items() if count} == of(values, "sent_bytes_total")
    assert values["arraymill_resident_bytes"] == info.resident_bytes > 0


async def test_bytes_are_counted_by_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_bulk(monkeypatch)
    async with watched() as app:
        async with am.AsyncClient(app.addresses[0], shared=False) as mill:
            assert (await mill.compute(am.asarray(HUGE) + 1))[-1] == HUGE.size
        by_bulk = await told(app)
        async with am.AsyncClient(app.addresses[0]) as mill:
            assert (await mill.compute(am.asarray(HUGE) + 1))[-1] == HUGE.size
            by_memory = await told(app)
    assert of(by_bulk, "received_bytes_total") == {"bulk": HUGE.nbytes}
    assert of(by_bulk, "sent_bytes_total") == {"bulk": HUGE.nbytes}
    assert of(by_memory, "received_bytes_total") == {"bulk": HUGE.nbytes, "memory": HUGE.nbytes}
    assert of(by_memory, "sent_bytes_total") == {"bulk": HUGE.nbytes, "memory": HUGE.nbytes}
    assert by_memory["arraymill_shared_memory_bytes"] > 0


@pytest.mark.parametrize("progress", [None, list[am.Progress]().append], ids=["answer", "stream"])
async def test_results_left_in_shared_memory_count_when_their_job_has_succeeded(progress: Any) -> None:
    async with watched() as app, am.AsyncClient(app.addresses[0]) as mill:
        x, out = await mill.empty(300_000, np.int64), await mill.empty(300_000, np.int64)
        x[:] = -1
        await fails(
            am.ComputationError, mill.compute(np.power(am.asarray(x), am.asarray(x)), out=out, progress=progress)
        )
        assert of(await told(app), "sent_bytes_total") == {}
        await mill.compute(am.asarray(x) + 1, out=out, progress=progress)
        assert of(await told(app), "sent_bytes_total") == {"memory": out.nbytes}


async def test_jobs_that_do_not_succeed_are_counted_by_what_became_of_them() -> None:
    ints = np.arange(9)
    async with watched() as app, am.AsyncClient(app.addresses[0], retry_for=0) as mill:
        slow: Any = await mill.put(HUGE)  # nobody has to bring it
        for _ in range(40):
            slow = np.tanh(np.power(slow, 1.01)) + 0.01
        slow = slow.sum()
        await fails(am.ComputationError, mill.compute(np.power(am.asarray(ints), am.asarray(-ints))))
        running = asyncio.ensure_future(mill.compute(slow))
        await until(lambda: app.jobs.running > 0)
        running.cancel()
        await until(lambda: app.jobs.running == 0)
        job = await mill.submit(slow, key="k")
        await fails(am.JobKeyError, mill.submit(am.asarray(SMALL) + 1, key="k"))
        await job.cancel()
        late = await mill.submit(slow, deadline=0.05)
        await fails(am.DeadlineError, late.result())
        await until(lambda: app.calls.counts.outcomes["cancelled"] == 2)
        values, info = await told(app), await mill.info()
    assert jobs_in(values) == {
        "put succeeded": 1,
        "power failed": 1,
        "expression cancelled": 2,
        "add refused": 1,
        "expression failed": 1,
    }
    assert of(values, "refusals_total") == {"JOB_KEY": 1} == info.refusals
    assert values["arraymill_job_duration_seconds_count{phase=total}"] == 1
    assert values["arraymill_jobs_running"] == values["arraymill_calls{kind=feeding}"] == 0


async def test_refusals_are_counted_by_their_reason() -> None:
    server = watched(max_streams=1)
    async with server as app, am.AsyncClient(app.addresses[0], shared=False, retry_for=0) as mill:
        await fails(am.ArrayNotFoundError, mill.delete("nobody"))
        gone = await mill.put(SMALL)
        await mill.delete(gone.id)
        await fails(am.ArrayNotFoundError, mill.get(gone[:2]))
        await fails(am.JobNotFoundError, mill.job("nobody"))
        with app.calls.jobs.taken("another"):
            await fails(am.BusyError, mill.sum(SMALL))
            await fails(am.BusyError, mill.sum(LARGE))
        values = await told(app)
    assert of(values, "refusals_total") == {"ARRAY_NOT_FOUND": 2, "JOB_NOT_FOUND": 1, "BUSY": 2}
    assert jobs_in(values) == {
        "put succeeded": 1,
        "get refused": 1,
        "sum refused": 1,
        "unknown refused": 1,
    }, "a stream is refused unread"


async def test_no_client_adds_a_series() -> None:
    async with watched() as app, am.AsyncClient(app.addresses[0]) as mill:
        await mill.sum(SMALL)
        before = await told(app)
        assert set(await refused(app, *HOSTILE)) <= {"UNKNOWN_OPERATION", "INVALID_JOB", "GRAPH"}
        assert await refused(app, "invert") == ["DTYPE", "DTYPE"]
        for number in range(50):
            handle = await mill.put(SMALL, name=f"array-{number}")
            await mill.submit(handle.sum(), key=f"key-{number}")
        await until(lambda: app.calls.counts.jobs.get(("sum", "succeeded")) == 51)
        after = await told(app)
    new = {key for key in after if key not in before}
    assert {key.partition("{")[2] for key in new} == {
        f"operation={operation},outcome={outcome}}}"
        for operation in ("put", "unknown", "invert")
        for outcome in OUTCOMES
    }
    assert jobs_in(after)["unknown refused"] == 2 * len(HOSTILE)
    assert jobs_in(after)["invert refused"] == 2


async def test_servers_of_one_process_share_nothing() -> None:
    async with watched() as one, watched(workers=1) as other:
        async with am.AsyncClient(one.addresses[0]) as mill:
            await mill.sum(SMALL)
        assert jobs_in(await told(one)) == {"sum succeeded": 1}
        assert jobs_in(await told(other)) == {}
        assert (await told(other))["arraymill_workers"] == 1


async def test_a_scrape_has_all_metrics_in_either_format() -> None:
    async with watched() as app:
        kinds = openmetrics_kinds(await asyncio.to_thread(scrape, app.monitor.port, OPENMETRICS))
        values = await told(app)
    assert {family.name.removesuffix("_total"): str(family.kind) for family in FAMILIES}.items() <= kinds.items()
    assert values["arraymill_arena_bytes"] == 64 * MIB
    assert values["process_resident_memory_bytes"] > 0
    assert "arraymill_event_loop_lag_seconds_count" in values


async def test_a_dead_worker_is_counted_by_the_cause_of_its_end() -> None:
    async with watched() as app, am.AsyncClient(app.addresses[0]) as mill:
        before = app.engine.status
        os.kill(worker_pids()[0], signal.SIGKILL)
        await until(lambda: app.engine.status.restarts == before.restarts + 1)
        await mill.sum(LARGE)
        values = await told(app)
    assert of(values, "worker_restarts_total") == {"killed": 1}


async def test_who_takes_over_is_the_one_that_is_asked() -> None:
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(watched())
        listen = ("--listen", old.addresses[0], "--metrics-listen", f"127.0.0.1:{old.monitor.port}")
        server = running_server("--take-over", *listen, "--bulk-port", "off", workers=1, arena="48MiB")
        await asyncio.to_thread(server.__enter__)
        try:
            assert (await told(old))["arraymill_workers"] == 1, "the new one is asked"
            await stack.aclose()
            assert (await told(old))["arraymill_workers"] == 1, "the old one has gone"
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)
