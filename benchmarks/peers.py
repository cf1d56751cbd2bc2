"""What is measured: each contender makes its connection once and then runs the same work again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from processes import arraymill_command, peer_command, server_process

Work = Callable[[], float]
"""Runs once; returns a number that must be the same for all contenders, or NaN where nothing is computed."""

FLIGHT_BATCH_BYTES = 4 << 20
"""Size of Flight's batches: the best of 1, 4, 16 and 64 MiB when it was chosen."""


@contextmanager
def numpy_sum(array: NDArray[np.float64]) -> Iterator[Work]:
    """np.sum in this process."""
    yield lambda: float(array.sum())


@contextmanager
def arraymill_sum(
    array: NDArray[np.float64], workers: int = 2, arena: str = "256MiB", *, bulk: bool = True
) -> Iterator[Work]:
    """One-shot sum over loopback TCP, on the bulk lane or by frames on gRPC."""
    import arraymill as am  # noqa: PLC0415

    with server_process(arraymill_command(workers, arena)) as (address, _), am.Client(address, bulk=bulk) as mill:
        yield lambda: float(mill.sum(array))


@contextmanager
def flight_put(array: NDArray[np.float64]) -> Iterator[Work]:
    """Arrow Flight's do_put over loopback TCP; computes nothing."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import flight  # noqa: PLC0415

    elements = FLIGHT_BATCH_BYTES // array.itemsize
    flat = array.reshape(-1)
    schema = pa.schema([("x", pa.float64())])
    batches = [
        pa.record_batch([pa.array(flat[start : start + elements])], schema=schema)
        for start in range(0, len(flat), elements)
    ]

    with server_process(peer_command("flight_server")) as (address, _), flight.connect(f"grpc://{address}") as client:

        def put() -> float:
            writer, reader = client.do_put(flight.FlightDescriptor.for_path("x"), schema)
            for batch in batches:
                writer.write_batch(batch)
            writer.done_writing()
            if int(reader.read().to_pybytes()) != array.nbytes:
                raise RuntimeError("Flight lost bytes")
            writer.close()
            return float("nan")

        yield put
