"""The rows: who takes part in each, and what is promised. A new contestant is one entry, a new row one value.

Contestants called "arraymill" are clients that are told nothing, on the server's machine: they take the same-host lane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from suite.data import COLUMNS
from suite.promises import Promise, beside, growth, spread, within
from suite.quantities import (
    CPU_PER_GIGABYTE,
    JOBS_PER_SECOND,
    MEBIBYTES,
    PERCENT_OF_CORE,
    SECONDS,
    gigabytes_per_second,
    milliseconds,
)
from suite.row import GIB, MIB, SMALL, Entry, Row

MILL: Final = Entry("arraymill", "arraymill")
BULK: Final = Entry("arraymill, bulk lane", "arraymill", {"lane": "bulk"})
FRAMES: Final = Entry("arraymill, frames on gRPC", "arraymill", {"lane": "frames"})
SHARED: Final = Entry("arraymill, mill.empty", "arraymill", {"is_shared": True})
NUMPY: Final = Entry("NumPy in process", "numpy")
NUMPY_OUT: Final = Entry("NumPy in process, out=", "numpy", {"out": True})
SOCKET: Final = Entry("raw TCP socket", "socket")
NAIVE: Final = Entry("naive gRPC + Pool", "naive", copies=6, largest=256 * MIB)
GRPC: Final = Entry("bare grpc.aio", "grpc")
FLIGHT: Final = Entry("Arrow Flight", "flight", arrays=2)
RAY: Final = Entry("Ray", "ray", arrays=3)
RAY_PUT: Final = Entry("Ray, put before", "ray", {"is_put": True}, arrays=3)
DASK: Final = Entry("Dask distributed", "dask", copies=4, largest=256 * MIB)
DASK_DIRECT: Final = Entry("Dask distributed, direct", "dask", {"direct": True}, arrays=2, copies=3)
PYTRITON: Final = Entry("PyTriton", "pytriton", arrays=4, copies=3, largest=256 * MIB)
NUMEXPR: Final = Entry("numexpr, 2 threads", "numexpr")
NUMEXPR_SUM: Final = Entry("numexpr, 2 threads, np.sum", "numexpr", {"sum": "numpy"})

WIRE: Final = (BULK, FRAMES)
OTHERS: Final = (FLIGHT, RAY, DASK, PYTRITON, NAIVE, SOCKET, NUMPY)
EVERYBODY: Final = (MILL, *WIRE, *OTHERS)
SMALL_SERVICES: Final = (MILL, RAY, DASK, PYTRITON, NAIVE)

SPEED: Final = gigabytes_per_second()
TIME: Final = milliseconds()
LATENCY: Final = milliseconds("p50_seconds", "p50")
LATE: Final = milliseconds("p99_seconds", "p99")
SIZES: Final = (256 * MIB, GIB, 16 * MIB, MIB)
LONG_JOBS: Final = 2
"""The kernel counts CPU time in steps of 10 ms, and memory is looked at every 50."""


def _clients(number: int, jobs: int, lane: str = "memory") -> Entry:
    suffix = "" if lane == "memory" else f", {lane} lane"
    return Entry(f"{number} client{'s' * (number > 1)}{suffix}", "arraymill", {"lane": lane}, number, jobs)


def _beside(label: str, nbytes: int, jobs: int, lane: str = "memory") -> Entry:
    return Entry(label, "arraymill", {"beside": nbytes, "lane": lane}, jobs=jobs)


def _idle(label: str, clients: int) -> Entry:
    return Entry(label, "commands", {"idle_seconds": 5}, clients)


def _imports(statement: str) -> Entry:
    return Entry(statement or "python alone", "commands", {"statement": statement})


def _one_shot(title: str, work: str, entries: tuple[Entry, ...], *promises: Promise, rounds: int = 9) -> Row:
    return Row(f"{title}, 2 workers", work, entries, SPEED, promises, SIZES, rounds=rounds, further_rounds=3)


def _same_host(title: str, work: str, entries: tuple[Entry, ...], *promises: Promise) -> Row:
    return Row(f"{title}, client and server on one machine", work, entries, SPEED, promises, SIZES, further_rounds=3)


def _axis(work: str) -> Row:
    title = f"np.sqrt(x*x + 1).mean of all {work} of a resident matrix, {COLUMNS:,} columns"
    entries = (replace(MILL, arrays=3), NUMPY, replace(NUMEXPR_SUM, arrays=2))
    return Row(title, work, entries, SPEED, sizes=(256 * MIB,))


def _of_256_mib(ours: Entry, other: Entry, least: float) -> Promise:
    return beside(ours.label, other.label, SPEED, nbytes=256 * MIB, least=least)


ROWS: Final[Mapping[str, Row]] = {
    "sum": _one_shot(
        "One-shot sum, loopback TCP",
        "sum",
        (*WIRE, GRPC, *OTHERS, DASK_DIRECT),
        _of_256_mib(FRAMES, FLIGHT, 0.9),
        _of_256_mib(FRAMES, DASK, 1.5),
        _of_256_mib(FRAMES, PYTRITON, 6),
        _of_256_mib(BULK, FLIGHT, 1.35),
        _of_256_mib(BULK, SOCKET, 0.75),
    ),
    "mean": _one_shot("One-shot mean", "mean", EVERYBODY, rounds=5),
    "sqrt": _one_shot(
        "sqrt and back",
        "sqrt",
        (*EVERYBODY, DASK_DIRECT),
        _of_256_mib(MILL, FLIGHT, 1.3),
        _of_256_mib(MILL, DASK, 2),
        rounds=7,
    ),
    "shared": _same_host("Sum of an ordinary array", "sum", (MILL, RAY, DASK_DIRECT, NUMPY), _of_256_mib(MILL, RAY, 2)),
    "shared-empty": _same_host(
        "Sum of an array of mill.empty",
        "sum",
        (SHARED, RAY, RAY_PUT, NUMPY),
        _of_256_mib(SHARED, NUMPY, 1),
        _of_256_mib(SHARED, RAY, 3),
    ),
    "shared-sqrt": _same_host(
        "sqrt of an array of mill.empty into another",
        "sqrt",
        (SHARED, RAY, NUMPY, NUMPY_OUT),
        _of_256_mib(SHARED, NUMPY, 1.5),
        _of_256_mib(SHARED, RAY, 2),
    ),
    "fused": Row(
        "np.sqrt(a*a + b*b).sum() on two resident arrays",
        "fused",
        (replace(MILL, arrays=4), replace(NUMPY, arrays=2), replace(NUMEXPR, arrays=2), replace(NUMEXPR_SUM, arrays=3)),
        gigabytes_per_second(2),
        (
            beside(MILL.label, NUMPY.label, SPEED, nbytes=GIB, least=3),
            beside(MILL.label, NUMEXPR.label, SPEED, nbytes=GIB, least=1.2),
            beside(MILL.label, NUMEXPR_SUM.label, SPEED, nbytes=GIB, least=1.2),
        ),
        sizes=(GIB,),
    ),
    "columns": _axis("columns"),
    "rows": _axis("rows"),
    "small": Row(
        "Sums of 1,000 elements, one at a time",
        "sum",
        SMALL_SERVICES,
        LATENCY,
        (beside(MILL.label, RAY.label, LATENCY, most=0.4),),
        sizes=(SMALL,),
        has_sizes=False,
        jobs=200,
        also=(LATE,),
    ),
    "burst": Row(
        "Sums of 1,000 elements, 64 in flight",
        "burst",
        SMALL_SERVICES,
        JOBS_PER_SECOND,
        (
            beside(MILL.label, RAY.label, JOBS_PER_SECOND, least=3),
            beside(MILL.label, DASK.label, JOBS_PER_SECOND, least=6),
        ),
        sizes=(SMALL,),
        has_sizes=False,
        jobs=1024,
        in_flight=64,
        rounds=7,
    ),
    "clients": Row(
        "Sums of clients at once",
        "clients",
        (
            *(_clients(number, 192 // number) for number in (64, 8, 1)),
            *(_clients(number, 192 // number, "bulk") for number in (64, 8, 1)),
        ),
        SPEED,
        (
            beside("64 clients", "1 client", SPEED, least=0.9),
            spread("64 clients", LATE, LATENCY, most=3),
            beside("64 clients, bulk lane", "1 client, bulk lane", SPEED, least=0.9),
            spread("64 clients, bulk lane", LATE, LATENCY, most=3),
        ),
        sizes=(16 * MIB,),
        has_sizes=False,
        rounds=5,
        also=(LATENCY, LATE),
    ),
    "beside": Row(
        "Sums of 1,000 elements while another client sums 4 GiB",
        "beside",
        (
            _beside("beside 4 GiB", 4 * GIB, 1),
            _beside("beside 4 GiB, bulk lane", 4 * GIB, 1, "bulk"),
            _beside("quiet", 0, 2000),
        ),
        LATE,
        (
            beside("beside 4 GiB", "quiet", LATE, most=5),
            beside("beside 4 GiB, bulk lane", "quiet", LATE, most=5),
        ),
        sizes=(SMALL,),
        has_sizes=False,
        rounds=5,
        warm_ups=1,
        also=(LATENCY,),
    ),
    "growth": Row(
        "Sums of growing arrays",
        "sum",
        (MILL, *WIRE),
        SPEED,
        tuple(growth(each.label, TIME, least=0.95, most=1.05) for each in (MILL, *WIRE)),
        sizes=(4 * GIB, GIB, 256 * MIB, 64 * MIB, 16 * MIB),
        rounds=5,
        warm_ups=1,
    ),
    "peak": Row(
        "Peak memory of a one-shot sum: what the client takes beside its array, and all of the servers",
        "sum",
        EVERYBODY,
        MEBIBYTES,
        jobs=LONG_JOBS,
        rounds=3,
        warm_ups=1,
        measures_memory=True,
    ),
    "cpu": Row(
        "CPU time of one-shot sums: client, servers and workers together",
        "sum",
        EVERYBODY,
        CPU_PER_GIGABYTE,
        jobs=LONG_JOBS,
        rounds=3,
        warm_ups=1,
    ),
    "import": Row(
        "Import",
        "import",
        tuple(map(_imports, ("import arraymill", "import numpy, grpc", ""))),
        TIME,
        (beside("import arraymill", "import numpy, grpc", TIME, most=1.5),),
        sizes=(SMALL,),
        has_sizes=False,
        rounds=15,
    ),
    "start": Row(
        "A server with the default arena: start, a healthy answer, stop",
        "start",
        (Entry("arraymill", "commands"),),
        SECONDS,
        (within("arraymill", SECONDS, most=2.0),),
        sizes=(SMALL,),
        has_sizes=False,
        rounds=7,
    ),
    "idle": Row(
        "A server that has nothing to do",
        "idle",
        (_idle("nobody connected", 0), _idle("8 clients connected", 8)),
        PERCENT_OF_CORE,
        (
            within("nobody connected", PERCENT_OF_CORE, most=0.5),
            within("8 clients connected", PERCENT_OF_CORE, most=0.5),
        ),
        sizes=(SMALL,),
        has_sizes=False,
        rounds=3,
        warm_ups=1,
    ),
}
