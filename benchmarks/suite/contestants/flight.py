"""Arrow Flight: do_put, and do_put with do_get for what comes back; its server computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
from pyarrow import flight

from suite.data import Array, numbers
from suite.processes import peer_command, server_process
from suite.task import Moved, Run, Task, Works, one_by_one

BATCH_BYTES: Final = 4 << 20
"""The best of 1, 4, 16 and 64 MiB when it was chosen."""


@contextmanager
def _put(task: Task) -> Iterator[Run]:
    with server_process(peer_command("flight")) as (address, _), flight.connect(f"grpc://{address}") as client:
        send = _sender(client, numbers(task.nbytes), "sink")
        yield one_by_one(lambda: Moved(send()), task.jobs)


@contextmanager
def _put_and_get(task: Task) -> Iterator[Run]:
    with server_process(peer_command("flight")) as (address, _), flight.connect(f"grpc://{address}") as client:
        send = _sender(client, numbers(task.nbytes), "keep")

        def there_and_back() -> Moved:
            nbytes = send()
            table = client.do_get(flight.Ticket(b"keep")).read_all()
            return Moved(nbytes, table.column("x"))

        yield one_by_one(there_and_back, task.jobs)


def _sender(client: Any, array: Array, path: str) -> Any:
    schema = pa.schema([("x", pa.float64())])
    elements = BATCH_BYTES // array.itemsize
    starts = range(0, len(array), elements)
    batches = [pa.record_batch([pa.array(array[start : start + elements])], schema=schema) for start in starts]

    def send() -> int:
        writer, reader = client.do_put(flight.FlightDescriptor.for_path(path), schema)
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        nbytes = int(reader.read().to_pybytes())
        writer.close()
        return nbytes

    return send


WORKS: Works = {"sum": _put, "mean": _put, "sqrt": _put_and_get}
