"""The rows: who takes part in each, and what is promised. A new contestant is one entry, a new row one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from suite.promises import Promise, beside, growth, spread, within
from suite.quantities import (
    CPU_PER_GIGABYTE,
    JOBS_PER_SECOND,
    MEBIBYTES,
    PERCENT_OF_CORE,
    SECONDS,
    Quantity,
    gigabytes_per_second,
    milliseconds,
)
from suite.task import Task

MIB: Final = 1 << 20
GIB: Final = 1 << 30

SMALL: Final = 8_000
"""Bytes of 1,000 float64."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a row."""

    label: str
    contestant: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    clients: int = 1
    jobs: int = 0
    """Jobs of one run; 0: as many as the row says."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured, of whom."""

    title: str
    work: str
    entries: tuple[Entry, ...]
    quantity: Quantity
    promises: tuple[Promise, ...] = ()
    sizes: tuple[int, ...] = (256 * MIB,)
    has_sizes: bool = True
    """Whether --sizes may choose others."""
    jobs: int = 1
    in_flight: int = 1
    rounds: int = 9
    measures_memory: bool = False
    also: tuple[Quantity, ...] = ()
    """Further columns of the table."""

    @property
    def sizes_are_told(self) -> bool:
        """Whether the size of the array is a figure of the row's."""
        return self.has_sizes or self.sizes[0] > SMALL

    def task(self, entry: Entry, nbytes: int) -> Task:
        """Return what is asked of an entry's contestant. Small arrays are computed on several times in a run."""
        jobs = entry.jobs or max(self.jobs, min(32, 32 * MIB // nbytes) if self.has_sizes else 1)
        return Task(self.work, nbytes, jobs, self.in_flight, entry.clients, entry.options, self.measures_memory)


MILL: Final = Entry("arraymill", "arraymill")
FRAMES: Final = Entry("arraymill, frames only", "arraymill", {"bulk": False})
NUMPY: Final = Entry("NumPy in process", "numpy")
SOCKET: Final = Entry("raw TCP socket", "socket")
NAIVE: Final = Entry("naive gRPC + Pool", "naive")
FLIGHT: Final = Entry("Arrow Flight", "flight")
RAY: Final = Entry("Ray", "ray")
DASK: Final = Entry("Dask distributed", "dask")
PYTRITON: Final = Entry("PyTriton", "pytriton")
NUMEXPR: Final = Entry("numexpr, 2 threads", "numexpr")
SERVICES: Final = (MILL, FRAMES, FLIGHT, RAY, DASK, PYTRITON, NAIVE)
EVERYBODY: Final = (*SERVICES, SOCKET, NUMPY)
SMALL_SERVICES: Final = (MILL, RAY, DASK, PYTRITON, NAIVE)

SPEED: Final = gigabytes_per_second()
LATENCY: Final = milliseconds("p50_seconds", "p50")
LATE: Final = milliseconds("p99_seconds", "p99")
CPU_JOBS: Final = 4
"""The kernel counts CPU time in steps of 10 ms."""


def _imports(statement: str) -> Entry:
    return Entry(statement or "python alone", "commands", {"statement": statement})


def _clients(number: int, jobs: int) -> Entry:
    return Entry(f"{number} client{'s' * (number > 1)}", "arraymill", clients=number, jobs=jobs)


def _one_shot(title: str, work: str, *promises: Promise, sizes: tuple[int, ...] = (256 * MIB,)) -> Row:
    return Row(f"{title}, loopback TCP, 2 workers", work, EVERYBODY, SPEED, promises, sizes)


ROWS: Final[Mapping[str, Row]] = {
    "sum": _one_shot(
        "One-shot sum",
        "sum",
        beside(FRAMES.label, FLIGHT.label, SPEED, nbytes=256 * MIB, least=0.9),
        beside(FRAMES.label, DASK.label, SPEED, nbytes=256 * MIB, least=1.5),
        beside(FRAMES.label, PYTRITON.label, SPEED, nbytes=256 * MIB, least=6),
        beside(MILL.label, FLIGHT.label, SPEED, nbytes=256 * MIB, least=1.35),
        beside(MILL.label, SOCKET.label, SPEED, nbytes=256 * MIB, least=0.75),
        sizes=(256 * MIB, 16 * MIB, MIB),
    ),
    "mean": _one_shot("One-shot mean", "mean"),
    "sqrt": _one_shot(
        "sqrt and back",
        "sqrt",
        beside(MILL.label, FLIGHT.label, SPEED, nbytes=256 * MIB, least=1.3),
        beside(MILL.label, DASK.label, SPEED, nbytes=256 * MIB, least=2),
    ),
    "fused": Row(
        "np.sqrt(a*a + b*b).sum() on resident arrays",
        "fused",
        (MILL, NUMPY, NUMEXPR),
        gigabytes_per_second(2),
        (
            beside(MILL.label, NUMPY.label, SPEED, nbytes=512 * MIB, least=3),
            beside(MILL.label, NUMEXPR.label, SPEED, nbytes=512 * MIB, least=1.2),
        ),
        sizes=(512 * MIB,),
    ),
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
        jobs=512,
        in_flight=64,
    ),
    "clients": Row(
        "Sums of clients at once",
        "clients",
        (_clients(64, 3), _clients(8, 24), _clients(1, 192)),
        SPEED,
        (
            beside("64 clients", "1 client", SPEED, least=0.9),
            spread("64 clients", LATE, LATENCY, most=3),
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
            Entry("beside 4 GiB", "arraymill", {"beside": 4 * GIB}, jobs=500),
            Entry("quiet", "arraymill", {"beside": 0}, jobs=2000),
        ),
        LATE,
        (beside("beside 4 GiB", "quiet", LATE, most=5),),
        sizes=(SMALL,),
        has_sizes=False,
        rounds=5,
        also=(LATENCY,),
    ),
    "growth": Row(
        "Sums of growing arrays",
        "sum",
        (MILL, FRAMES),
        SPEED,
        tuple(growth(each.label, milliseconds(), least=0.95, most=1.05) for each in (MILL, FRAMES)),
        sizes=(4 * GIB, GIB, 256 * MIB, 64 * MIB, 16 * MIB),
        rounds=5,
    ),
    "peak": Row(
        "Peak memory of a one-shot sum: what the client takes beside its array, and all of the servers",
        "sum",
        EVERYBODY,
        MEBIBYTES,
        rounds=3,
        measures_memory=True,
    ),
    "cpu": Row(
        "CPU time of one-shot sums: client, servers and workers together",
        "sum",
        EVERYBODY,
        CPU_PER_GIGABYTE,
        jobs=CPU_JOBS,
        rounds=3,
    ),
    "import": Row(
        "Import",
        "import",
        tuple(map(_imports, ("import arraymill", "import numpy, grpc", ""))),
        milliseconds(),
        (beside("import arraymill", "import numpy, grpc", milliseconds(), most=1.5),),
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
    ),
    "idle": Row(
        "A server that has nothing to do",
        "idle",
        (Entry("arraymill", "commands"),),
        PERCENT_OF_CORE,
        (within("arraymill", PERCENT_OF_CORE, most=0.5),),
        sizes=(SMALL,),
        has_sizes=False,
        rounds=3,
    ),
}
