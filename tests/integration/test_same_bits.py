"""The same bits from any number of workers, any engine, any size of frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from servers import RunningServer, running_server
from wire import channel_to, run_graph

from arraymill_proto.graph import Graph, Input, Operation
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.request import Request
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.testing.exchange import MemoryExchange

ARENA_BYTES = 96 << 20
ROWS, COLUMNS = 3001, 700
"""Four blocks of float64, two or three of float32."""

NAMES = ("sum", "mean", "var", "std")
OPERATIONS = (
    *(Operation(name, (0,)) for name in NAMES),
    *(Operation(name, (0,), {"axis": 0}) for name in NAMES),
    *(Operation(name, (0,), {"axis": 1}) for name in NAMES),
    Operation("cumsum", (0,), {"axis": 0}),
)


def ill_conditioned(dtype: str) -> NDArray[np.floating]:
    """Numbers over 16 orders of magnitude, of either sign: every change of order changes the last bits of their sum."""
    random = np.random.default_rng(5)
    size = ROWS * COLUMNS
    values = random.choice([-1.0, 1.0], size) * 10.0 ** random.uniform(-8, 8, size)
    return values.reshape(ROWS, COLUMNS).astype(dtype)


def graph_of(array: NDArray[np.floating]) -> Graph:
    return Graph((Input(array.shape, array.dtype), *OPERATIONS), tuple(range(1, len(OPERATIONS) + 1)))


async def serial_bits(array: NDArray[np.floating]) -> list[bytes]:
    """What the serial engine computes, in this process."""
    arena = Arena.create(ARENA_BYTES)
    residents = Residents(arena, 0, 1.0)
    jobs = Jobs(arena, SerialEngine(arena.space), Admission(arena, 1), residents, slots=2)
    exchange = MemoryExchange([array])
    await jobs.run(Request(graph_of(array), "test"), exchange)
    return [result.tobytes() for result in exchange.results]


@pytest.fixture(scope="module", params=[1, 2, 3])
def sized_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with running_server(workers=request.param) as server:
        yield server


@pytest.mark.parametrize("dtype", ["float32", "float64"])
async def test_the_same_bits_everywhere(sized_server: RunningServer, dtype: str) -> None:
    array = ill_conditioned(dtype)
    expected = await serial_bits(array)
    async with channel_to(sized_server.address) as channel:
        for frame_bytes in (64 << 10, 1 << 20):
            results = await run_graph(channel, graph_of(array), [array], frame_bytes)
            for operation, result, bits in zip(OPERATIONS, results, expected, strict=True):
                assert result.tobytes() == bits, (operation, frame_bytes)


async def test_another_order_would_give_other_bits() -> None:
    """The test above can fail: these arrays tell orders of summation apart."""
    array = ill_conditioned("float64")
    assert array.sum() != array[::-1].sum()
