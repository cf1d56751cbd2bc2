"""Benchmarks side by side: `make bench`. Figures are ratios of things measured in turn in the same run.

python benchmarks/run.py [--rows sum,import,start] [--rounds 7] [--mebibytes 256]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from measure import Figure, in_turn, save, table
from peers import Work, arraymill_sum, flight_put, numpy_sum
from processes import arraymill_command, server_process

RESULTS = Path(__file__).parent / "results"


def one_shot_sum(rounds: int, mebibytes: int) -> tuple[str, list[Figure]]:
    """One-shot sum of a float64 array over loopback TCP."""
    array = np.random.default_rng(0).normal(size=mebibytes << 17)
    with ExitStack() as stack:
        works: dict[str, Work] = {
            "arraymill sum": stack.enter_context(arraymill_sum(array)),
            "Arrow Flight do_put": stack.enter_context(flight_put(array)),
            "np.sum in process": stack.enter_context(numpy_sum(array)),
        }
        figures = in_turn(works, rounds)
    title = f"One-shot sum of {mebibytes} MiB of float64, loopback TCP, 2 workers"
    return table(title, figures, array.nbytes, "Arrow Flight do_put"), figures


def import_time(rounds: int, mebibytes: int) -> tuple[str, list[Figure]]:
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
    return table("Import", figures, 0, "import numpy, grpc"), figures


def start_time(rounds: int, mebibytes: int) -> tuple[str, list[Figure]]:
    """From the start of the process until health answers SERVING, with the default arena."""
    times: list[float] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        command = [argument for argument in arraymill_command(2, "") if argument not in ("--arena", "")]
        with server_process(command) as (address, _):
            health = [sys.executable, "-m", "arraymill", "health", "--server", address]
            subprocess.run(health, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - begin)
    figure = Figure("arraymill serve until healthy", sorted(times)[len(times) // 2], min(times), max(times))
    return table("Start, default arena, health asked by the command line", [figure], 0, figure.name), [figure]


ROWS = {"sum": one_shot_sum, "import": import_time, "start": start_time}


def main() -> None:
    """Run the rows and write them to `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="rows, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mebibytes", type=int, default=256)
    options = parser.parse_args()
    for name in options.rows.split(","):
        text, figures = ROWS[name](options.rounds, options.mebibytes)
        print(text)
        save(RESULTS, name, text, figures)


if __name__ == "__main__":
    main()
