"""Benchmarks side by side: `make bench`. Figures are ratios of things measured in turn in the same run.

python benchmarks/run.py [--rows sum,import,start] [--rounds 7] [--mebibytes 256]

Every row has a bound that the project promises; the exit code is 1 when one is broken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from measure import Figure, in_turn, save, table
from peers import Work, arraymill_sum, flight_put, numpy_sum
from processes import arraymill_command, server_process

RESULTS = Path(__file__).parent / "results"

LEAST_OF_FLIGHT = 0.8
"""Throughput of the sum, of that of Flight's do_put, which computes nothing."""

MOST_OF_IMPORT = 1.5
"""Time of `import arraymill`, of that of `import numpy, grpc`."""

MOST_START_SECONDS = 2.0
"""From the start of the process until health answers SERVING."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a row of the suite has measured."""

    text: str
    figures: list[Figure]
    promise: str
    is_kept: bool


def one_shot_sum(rounds: int, mebibytes: int) -> Row:
    """One-shot sum of a float64 array over loopback TCP."""
    array = np.random.default_rng(0).normal(size=mebibytes << 17)
    with ExitStack() as stack:
        works: dict[str, Work] = {
            "arraymill sum": stack.enter_context(arraymill_sum(array)),
            "arraymill sum, frames only": stack.enter_context(arraymill_sum(array, bulk=False)),
            "Arrow Flight do_put": stack.enter_context(flight_put(array)),
            "np.sum in process": stack.enter_context(numpy_sum(array)),
        }
        figures = in_turn(works, rounds)
    ratio = _median(figures, "Arrow Flight do_put") / _median(figures, "arraymill sum")
    return Row(
        table(
            f"One-shot sum of {mebibytes} MiB of float64, loopback TCP", figures, array.nbytes, "Arrow Flight do_put"
        ),
        figures,
        f"the sum has {ratio:.2f} × the throughput of Flight's do_put; promised are {LEAST_OF_FLIGHT:g}",
        ratio >= LEAST_OF_FLIGHT,
    )


def import_time(rounds: int, mebibytes: int) -> Row:
    """`import arraymill` beside `import numpy, grpc`."""

    def run(statement: str) -> float:
        subprocess.run([sys.executable, "-c", statement], check=True)
        return float("nan")

    works: dict[str, Work] = {
        "import arraymill": lambda: run("import arraymill"),
        "import numpy, grpc": lambda: run("import numpy, grpc"),
        "python alone": lambda: run(""),
    }
    figures = in_turn(works, 2 * rounds)
    ratio = _median(figures, "import arraymill") / _median(figures, "import numpy, grpc")
    return Row(
        table("Import", figures, 0, "import numpy, grpc"),
        figures,
        f"the import takes {ratio:.2f} × that of NumPy and gRPC; promised are {MOST_OF_IMPORT:g}",
        ratio <= MOST_OF_IMPORT,
    )


def start_time(rounds: int, mebibytes: int) -> Row:
    """From the start of the process until health answers SERVING, with the default arena."""

    def start() -> float:
        with server_process(arraymill_command(2)) as (address, _), grpc.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                raise RuntimeError(f"the server says {answer}")
        return float("nan")

    figures = in_turn({"start, health, stop": start}, rounds)
    return Row(
        table("Start and stop of a server with the default arena", figures, 0, "start, health, stop"),
        figures,
        f"start, a healthy answer and stop take {figures[0].median:.2f} s; promised are {MOST_START_SECONDS:g}",
        figures[0].median <= MOST_START_SECONDS,
    )


def _median(figures: Sequence[Figure], name: str) -> float:
    return next(figure.median for figure in figures if figure.name == name)


ROWS = {"sum": one_shot_sum, "import": import_time, "start": start_time}


def main() -> None:
    """Run the rows and write them to `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="rows, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mebibytes", type=int, default=256)
    options = parser.parse_args()
    broken = 0
    for name in options.rows.split(","):
        row = ROWS[name](options.rounds, options.mebibytes)
        text = f"{row.text}\n{'kept' if row.is_kept else 'BROKEN'}: {row.promise}\n"
        print(text)
        save(RESULTS, name, text, row.figures)
        broken += not row.is_kept
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
