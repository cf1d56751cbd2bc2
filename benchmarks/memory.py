"""Peak memory of a server of fixed size while arrays far larger than its arena go through it.

    python benchmarks/memory.py [--gibibytes 8] [--arena 256MiB] [--folder DIR]

Writes a float64 .npy file, runs the command line on it (sum, mean, sqrt and (x - x.mean()) / x.std() into files),
checks every result, and reports the peak of the summed PSS of the server, its fork server and its workers. PSS counts
the arena once, however many processes map it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.files import RESULTS
from suite.machine import facts
from suite.processes import arraymill_command, server_process
from suite.usage import peaks_of, tree_mib

CHUNK = 1 << 22
ALLOWANCE_MIB = 250
"""What server, fork server and two workers may have beside the arena."""


def write_input(path: Path, gibibytes: float) -> NDArray[np.float64]:
    """Write normally distributed numbers, a chunk that repeats with a drift; map them."""
    length = int(gibibytes * (1 << 27))
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(length,))
    chunk = np.random.default_rng(0).normal(loc=3.0, size=CHUNK)
    for number, start in enumerate(range(0, length, CHUNK)):
        array[start : start + CHUNK] = (chunk + 1e-3 * number)[: length - start]
    array.flush()
    mapped: NDArray[np.float64] = np.load(path, mmap_mode="r")
    return mapped


def command_line(address: str, *arguments: str) -> str:
    """Run a command and return what it prints."""
    command = [sys.executable, "-m", "arraymill", *arguments, "--server", address]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def chunks(array: NDArray[np.float64]) -> Iterator[slice]:
    yield from (slice(start, start + CHUNK) for start in range(0, len(array), CHUNK))


def check_file(
    path: Path, x: NDArray[np.float64], expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    """Compare a result file with NumPy, chunk by chunk."""
    result = np.load(path, mmap_mode="r")
    if result.shape != x.shape or result.dtype != x.dtype:
        raise SystemExit(f"{path} has {result.shape} of {result.dtype}")
    for part in chunks(x):
        np.testing.assert_allclose(result[part], expected(x[part]), rtol=1e-12, atol=1e-12)


def main() -> None:
    """Run the commands one after the other against one server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gibibytes", type=float, default=8.0)
    parser.add_argument("--arena", default="256MiB")
    parser.add_argument("--folder", type=Path, default=None, help="where the files go; needs twice their size")
    options = parser.parse_args()
    arena_mib = float(options.arena.removesuffix("MiB"))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source, out = Path(folder, "x.npy"), Path(folder, "y.npy")
        x = write_input(source, options.gibibytes)
        sums = [float(x[part].sum()) for part in chunks(x)]
        mean = sum(sums) / len(x)
        std = (sum(float(((x[part] - mean) ** 2).sum()) for part in chunks(x)) / len(x)) ** 0.5
        rows: list[tuple[str, float, float]] = []
        with server_process(arraymill_command(2, options.arena)) as (address, pid):
            for name, run in _jobs(address, (source, out), x, (sum(sums), mean, std)).items():
                begin = time.perf_counter()
                with peaks_of(lambda: {"mib": tree_mib(pid)}) as peaks:
                    check = run()
                rows.append((name, peaks["mib"], time.perf_counter() - begin))
                check()
    _report(rows, options.gibibytes, arena_mib)


def _jobs(
    address: str, files: tuple[Path, Path], x: NDArray[np.float64], known: tuple[float, float, float]
) -> dict[str, Callable[[], Callable[[], None]]]:
    """Each job runs and returns its check; `known` are the sum, the mean and the standard deviation."""
    (source, out), (total, mean, std) = files, known

    def number(name: str, expected: float) -> Callable[[], None]:
        printed = float(command_line(address, name, str(source)))
        return lambda: np.testing.assert_allclose(printed, expected, rtol=1e-12)

    def to_file(
        arguments: list[str], expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> Callable[[], None]:
        command_line(address, *arguments, "-o", str(out))
        return lambda: check_file(out, x, expected)

    score = ["compute", "(x - x.mean()) / x.std()", f"x={source}"]
    return {
        "sum": lambda: number("sum", total),
        "mean": lambda: number("mean", mean),
        "sqrt into a file": lambda: to_file(["compute", "sqrt(abs(x))", f"x={source}"], lambda a: np.sqrt(np.abs(a))),
        "(x - x.mean()) / x.std() into a file": lambda: to_file(score, lambda a: (a - mean) / std),
    }


def _report(rows: list[tuple[str, float, float]], gibibytes: float, arena_mib: float) -> None:
    lines = [f"### {gibibytes:g} GiB through an arena of {arena_mib:g} MiB", ""]
    lines += ["| job | peak PSS | beside the arena | time |", "|---|---|---|---|"]
    lines += [f"| {name} | {mib:.0f} MiB | {mib - arena_mib:.0f} MiB | {s:.0f} s |" for name, mib, s in rows]
    text = "\n".join([*lines, ""])
    print(text)
    jobs = [{"name": name, "peak_mib": mib, "seconds": seconds} for name, mib, seconds in rows]
    data = {"machine": facts(), "gibibytes": gibibytes, "arena_mib": arena_mib, "jobs": jobs}
    (RESULTS / "memory.md").write_text(text)
    (RESULTS / "memory.json").write_text(json.dumps(data, indent=1) + "\n")
    worst = max(mib for _, mib, _ in rows) - arena_mib
    if worst > ALLOWANCE_MIB:
        raise SystemExit(f"the server took {worst:.0f} MiB beside the arena, more than {ALLOWANCE_MIB} MiB")


if __name__ == "__main__":
    main()
