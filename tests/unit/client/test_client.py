"""The methods of the client: what they send, and what they give."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import Array as Values
from strategies import arrays
from unit.client.fake_server import FakeServer, Session

import arraymill as am
from arraymill import AsyncClient, Handle, Progress, asarray
from arraymill._caller import MAX_IN_FLIGHT, SMALL_BYTES
from arraymill_proto.errors import (
    ArrayNotFoundError,
    AxisError,
    BusyError,
    ConnectionFailedError,
    DeadlineError,
    DTypeError,
    InternalError,
    ParameterError,
    ShapeError,
    UnknownOperationError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb

X: NDArray[np.float64] = np.linspace(-2.0, 2.0, 60).reshape(3, 4, 5)
LARGE: NDArray[np.float64] = np.ones(SMALL_BYTES // 8 + 1)


# ------------------------------------------------------------------ how jobs travel


@pytest.mark.parametrize(
    ("expression", "method"),
    [
        (asarray(LARGE[1:]).sum(), "Compute"),
        (asarray(LARGE).sum(), "Run"),
        (asarray(LARGE[:9000].astype(np.int8)) + np.float64(1), "Run"),
        (asarray(LARGE[:0]) + 1, "Compute"),
    ],
)
async def test_small_jobs_take_one_message(
    server: FakeServer, mill: AsyncClient, expression: am.Array, method: str
) -> None:
    await mill.compute(expression)
    assert server.calls == {"GetServerInfo": 1, method: 1}


async def test_a_server_of_small_messages_gets_streams(server: FakeServer) -> None:
    server.info.unary_bytes = 100
    async with AsyncClient(server.address) as mill:
        assert await mill.sum(X) == X.sum()
    assert server.calls["Compute"] == 0


@pytest.mark.parametrize("unary_bytes", [0, 1 << 20])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x=arrays(), y=arrays(shape=(2, 3)))
async def test_any_array_goes_there_and_back(server: FakeServer, unary_bytes: int, x: Values, y: Values) -> None:
    server.info.unary_bytes = unary_bytes
    async with AsyncClient(server.address) as mill:
        first, second = await mill.compute(x, asarray(y))
    for given_, got in ((x, first), (y, second)):
        assert got.dtype == given_.dtype.newbyteorder("=")
        assert np.array_equal(got, given_, equal_nan=given_.dtype.kind in "fc")
        assert given_.ndim == 0 or (type(got) is np.ndarray and got.flags.writeable)


async def test_expressions_that_share_an_input_send_it_once(server: FakeServer, streaming: AsyncClient) -> None:
    total, mean, biggest = await streaming.compute(asarray(X).sum(), asarray(X).mean(axis=0), asarray(X).max())
    assert (total, biggest) == (X.sum(), X.max())
    assert np.array_equal(mean, X.mean(axis=0))
    assert sum(len(frame.data) for frame in server.sessions[0].frames) == X.nbytes


async def test_progress_of_a_small_job(mill: AsyncClient) -> None:
    seen: list[Progress] = []
    await mill.sum(X, progress=seen.append)
    (last,) = seen
    assert last.blocks_done == last.blocks == 3
    assert last.times is not None
    assert last.times.total == 1.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (pb.ComputeResponse(), "sent 0 results of 1"),
        (pb.ComputeResponse(results=[pb.InlineArray(type=pb.ArrayType(dtype=pb.FLOAT32))]), "float32 of shape"),
        (pb.ComputeResponse(results=[pb.InlineArray(type=pb.ArrayType(dtype=pb.FLOAT64))]), "sent 0 of 8 result"),
        (
            pb.ComputeResponse(results=[pb.InlineArray(type=pb.ArrayType(dtype=pb.FLOAT64), data=bytes(9))]),
            "sent bytes 0 to 9 of a result of 8",
        ),
    ],
)
async def test_strange_answers_of_small_jobs(
    server: FakeServer, mill: AsyncClient, answer: pb.ComputeResponse, text: str
) -> None:
    server.raw["Compute"] = answer.SerializeToString()
    with pytest.raises(InternalError, match=text):
        await mill.sum(X)


# ------------------------------------------------------------------ operations


REDUCTIONS: dict[str, list[dict[str, Any]]] = {
    "sum": [{}, {"axis": 1, "keepdims": True}, {"dtype": np.float32, "initial": 5.0, "where": X > 0}],
    "prod": [{}, {"axis": (0, -1), "dtype": np.complex128}],
    "mean": [{}, {"axis": 0}, {"where": X > 0, "keepdims": True}],
    "var": [{}, {"ddof": 1, "axis": 2}],
    "std": [{}, {"ddof": 0.5, "axis": (0, 1), "dtype": np.float64}],
    "min": [{}, {"axis": 0, "initial": -9.0, "where": X > 0}],
    "max": [{}, {"axis": -1, "keepdims": True}],
    "ptp": [{}, {"axis": 1}],
    "argmin": [{}, {"axis": 1, "keepdims": True}],
    "argmax": [{}, {"axis": 0}],
    "any": [{}, {"axis": (0, 2), "where": X > 1}],
    "all": [{}, {"axis": 0, "keepdims": True}],
    "count_nonzero": [{}, {"axis": 0}],
}


@pytest.mark.parametrize(("name", "params"), [(name, params) for name, each in REDUCTIONS.items() for params in each])
async def test_reductions(mill: AsyncClient, name: str, params: dict[str, Any]) -> None:
    known = getattr(np, name)(X, **params)
    value = await getattr(mill, name)(X, **params)
    assert np.array_equal(value, known)
    assert value.dtype == np.asarray(known).dtype
    if np.ndim(known):
        out = np.empty_like(known)
        assert await getattr(mill, name)(X, **params, out=out) is out
        assert np.array_equal(out, known)
    positional = {key: value for key, value in params.items() if key != "axis"}
    assert np.array_equal(await getattr(mill, name)(X, params.get("axis"), **positional), known)


@pytest.mark.parametrize(
    ("name", "operands", "params"),
    [
        ("sqrt", [X * X], {}),
        ("abs", [X], {}),
        ("add", [X, 1], {"dtype": np.float32}),
        ("clip", [X], {"min": -1, "max": np.float64(1)}),
        ("where", [X > 0, X, 0], {}),
        ("cumsum", [X], {"axis": 1}),
        ("amax", [X], {"axis": 0}),
        ("around", [X], {"decimals": 1}),
    ],
)
async def test_transform(mill: AsyncClient, name: str, operands: list[Any], params: dict[str, Any]) -> None:
    value = await mill.transform(name, *operands, **params)
    known = getattr(np, name)(*operands, **params)
    assert value.dtype == known.dtype
    assert np.array_equal(value, known)


async def test_operations_of_two_results(mill: AsyncClient) -> None:
    fraction, whole = await mill.transform("modf", X)
    assert np.array_equal(fraction, np.modf(X)[0])
    assert np.array_equal(whole, np.modf(X)[1])
    assert np.array_equal(await mill.transform("modf", X, part=1), whole)
    quotient, _ = await mill.compute(*divmod(asarray(X), 2))
    assert np.array_equal(quotient, X // 2)


# ------------------------------------------------------------------ bad calls never travel


BAD_CALLS: dict[str, tuple[Callable[[AsyncClient], Awaitable[Any]], type[Exception], str]] = {
    "no expression": (lambda mill: mill.compute(), ParameterError, "at least one expression"),
    "unknown operation": (lambda mill: mill.transform("sqr", X), UnknownOperationError, "did you mean"),
    "unknown parameter": (lambda mill: mill.transform("sqrt", X, axis=0), ParameterError, "axis"),
    "axis": (lambda mill: mill.sum(X, axis=3), AxisError, "axis 3 is out of bounds"),
    "shapes": (lambda mill: mill.transform("add", X, np.zeros(7)), ShapeError, "could not be broadcast"),
    "dtype": (lambda mill: mill.sum(np.array(["a"])), DTypeError, "not supported"),
    "shape of out": (lambda mill: mill.sum(X, axis=0, out=np.zeros(3)), ShapeError, "out has shape"),
    "dtype of out": (lambda mill: mill.sum(X, axis=0, out=np.zeros((4, 5), int)), DTypeError, "results are not cast"),
    "too many outs": (lambda mill: mill.compute(X, out=[None, None]), ParameterError, "2 arrays for 1 expressions"),
    "timeout": (lambda mill: mill.sum(X, timeout=0), ParameterError, "timeout is 0"),
    "time to live": (lambda mill: mill.put(X, ttl=-1), ParameterError, "ttl is -1"),
    "get of an expression": (lambda mill: mill.get(asarray(X) + 1), TypeError, "use compute"),
    "get of a number": (
        lambda mill: mill.get(cast("Any", 5)),
        TypeError,
        "get takes a handle or a slice of one, not 5",
    ),
    "a number for an operation": (lambda mill: mill.transform(cast("Any", 5), X), ParameterError, "name is 5, it must"),
    "a number for a function": (
        lambda mill: mill.sum(X, progress=cast("Any", 5)),
        ParameterError,
        "progress is 5, it must be a function of one argument",
    ),
    "a number for a job": (lambda mill: mill.job(cast("Any", 5)), ParameterError, "id is 5, it must be a text"),
    "a number for an array": (lambda mill: mill.array(cast("Any", 5)), ParameterError, "id is 5, it must be a text"),
    "deleting a number": (lambda mill: mill.delete(cast("Any", 5)), ParameterError, "array is 5, it must be a text"),
    "a number for a name": (lambda mill: mill.put(X, name=cast("Any", 5)), ParameterError, "name is 5, it must be"),
    "an id for a name": (lambda mill: mill.put(X, name="a" * 32), ParameterError, "may be the id of an array or a job"),
    "no operand": (lambda mill: mill.transform("sqrt", cast("Any", None)), TypeError, "NoneType is no operand"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
async def test_bad_calls(server: FakeServer, mill: AsyncClient, name: str) -> None:
    call, error, text = BAD_CALLS[name]
    with pytest.raises(error, match=text):
        await call(mill)
    assert not server.calls


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"address": "http://mill"}, "is a URL or a path"),
        ({"timeout": -1}, "timeout is -1"),
        ({"connect_timeout": 0}, "connect_timeout is 0"),
        ({"frame_bytes": 0}, "frame_bytes is 0"),
        ({"frame_bytes": 1 << 30}, "frame_bytes is"),
        ({"frame_bytes": "64k"}, "frame_bytes is '64k', it must be a whole number, 1 to 1,048,576"),
        ({"address": 50051}, "address is 50051, it must be a text"),
    ],
)
def test_bad_clients(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        AsyncClient(**options)


# ------------------------------------------------------------------ resident arrays


async def test_a_life_of_a_resident_array(server: FakeServer, mill: AsyncClient) -> None:
    handle = await mill.put(X, name="x", ttl=60)
    assert isinstance(handle, Handle)
    assert (handle.id, handle.shape, handle.dtype) == ("x", X.shape, X.dtype)
    assert server.sessions[0].start.keep.ttl_seconds == 60
    assert np.array_equal(await mill.get(handle), X)
    assert np.array_equal(await mill.get(handle[1:, ::-2, 3]), X[1:, ::-2, 3])
    assert np.array_equal(await mill.compute((handle - handle.mean()) / X), (X - X.mean()) / X)
    same = await mill.array("x")
    assert (same.id, same.name, same.shape) == ("x", "name of x", X.shape)
    await mill.delete(handle)
    assert not server.arrays


async def test_an_expression_is_kept_where_it_is(server: FakeServer, mill: AsyncClient) -> None:
    handle = await mill.put(asarray(X) * 2)
    assert server.sessions[0].start.keep == pb.Keep()
    assert np.array_equal(server.arrays[handle.id], X * 2)


async def test_all_pages_are_listed(server: FakeServer, mill: AsyncClient) -> None:
    for number in range(5):
        server.keep(np.zeros(number), f"a{number}")
    found = await mill.list()
    assert [info.id for info in found] == ["a0", "a1", "a2", "a3", "a4"]
    assert [info.shape for info in found] == [(0,), (1,), (2,), (3,), (4,)]
    assert server.calls["ListArrays"] == 3


async def test_an_array_that_is_not_there(server: FakeServer, mill: AsyncClient) -> None:
    server.failures["DeleteArray"] = ArrayNotFoundError("no resident array 'x'")
    with pytest.raises(LookupError, match="no resident array 'x'"):
        await mill.delete("x")


async def test_info(server: FakeServer, mill: AsyncClient) -> None:
    server.info.operations.add(name="sum", kind="reduction", params=["axis"])
    server.info.workers = 3
    server.info.worker_endings["crashed"] = 2
    server.info.connections = 7
    server.info.busy_workers = 2
    server.info.loop_lag_seconds = 0.5
    server.info.refusals["BUSY"] = 4
    server.info.received_bytes["grpc"] = 5
    info = await mill.info()
    assert (info.busy_workers, info.loop_lag_seconds, info.refusals) == (2, 0.5, {"BUSY": 4})
    assert (info.received_bytes, info.sent_bytes, info.ended_jobs) == ({"grpc": 5}, {}, {})
    assert (info.worker_endings, info.connections, info.refused_calls) == ({"crashed": 2}, 7, 0)
    assert (info.version, info.workers, info.operations[0].params) == ("9.9", 3, ("axis",))


# ------------------------------------------------------------------ limits


async def test_repr_counts_jobs(server: FakeServer) -> None:
    async def run(session: Session) -> None:
        server.hangs.set()
        await asyncio.Event().wait()

    server.run = run
    async with AsyncClient(server.address) as mill:
        assert repr(mill) == f"<AsyncClient of {server.address}: open | 0 running, 0 waiting>"
        jobs = [asyncio.create_task(mill.sum(LARGE)) for _ in range(MAX_IN_FLIGHT + 2)]
        await server.hangs.wait()
        assert repr(mill) == f"<AsyncClient of {server.address}: open | {MAX_IN_FLIGHT} running, 2 waiting>"
        assert await mill.sum(X) == X.sum(), "small jobs do not wait behind streams"
    assert all(
        isinstance(error, ConnectionFailedError) for error in await asyncio.gather(*jobs, return_exceptions=True)
    )
    assert repr(mill) == f"<AsyncClient of {server.address}: closed | 0 running, 0 waiting>"


async def test_waiting_for_ones_turn_counts_against_the_deadline(server: FakeServer) -> None:
    async def run(session: Session) -> None:
        await asyncio.Event().wait()

    server.run = run
    async with AsyncClient(server.address, timeout=0.3) as mill:
        jobs = [mill.sum(LARGE) for _ in range(MAX_IN_FLIGHT + 20)]
        errors = await asyncio.gather(*jobs, return_exceptions=True)
    assert {type(error) for error in errors} == {DeadlineError}


async def test_a_calls_own_timeout_goes_before_the_clients(server: FakeServer) -> None:
    async with AsyncClient(server.address, timeout=1e-6) as mill:
        with pytest.raises(DeadlineError):
            await mill.sum(X)
        assert await mill.sum(X, timeout=60) == X.sum()
        with pytest.raises(TimeoutError):
            await mill.list()


async def test_a_busy_server_says_so(server: FakeServer, mill: AsyncClient) -> None:
    server.failures["Compute"] = BusyError("full")
    with pytest.raises(BusyError, match="full"):
        await mill.sum(X)


async def test_hundreds_of_small_jobs(mill: AsyncClient) -> None:
    totals = await asyncio.gather(*(mill.sum(np.full(10, number)) for number in range(500)))
    assert totals == [10 * number for number in range(500)]


@pytest.mark.parametrize("seconds", [1e9, 1e12, 1e300, float("inf")])
async def test_the_longest_limits_are_none(server: FakeServer, seconds: float) -> None:
    """gRPC's clock would overflow, and the call would fail at once."""
    async with AsyncClient(server.address, timeout=seconds, connect_timeout=seconds) as mill:
        assert await mill.sum(X) == X.sum()
        handle = await mill.put(X, timeout=seconds)
        assert np.array_equal(await mill.get(handle), X)


def test_a_client_needs_no_loop_before_its_first_call() -> None:
    assert AsyncClient("localhost").address == "localhost:50051"


async def test_the_address_comes_from_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRAYMILL_SERVER", server.address)
    async with AsyncClient() as mill:
        assert await mill.sum([1, 2, 3]) == 6


@given(st.floats())
def test_every_timeout_is_either_refused_or_kept(seconds: float) -> None:
    if seconds > 0:
        AsyncClient("localhost:1", timeout=seconds)
    else:
        with pytest.raises(ParameterError):
            AsyncClient("localhost:1", timeout=seconds)
