"""Whether `arraymill load` and h2load, a load tester in C, measure the same throughput for the same small calls.

    python benchmarks/h2load.py [--clients 8] [--seconds 5] [--rounds 3]

Both send the same bytes, a call of Compute in one message, to one server, in turn in one run: as many connections, with
one call under way on each. The calls are of two kinds. One keeps the workers busy for some milliseconds, so that the
server is the limit: there the two must agree within 15 %, or the exit code is 1. The other sums 8 KiB, which takes the
server less time than a client in Python: what that costs is told, and nothing is promised.

h2load comes with nghttp2 (Debian: nghttp2-client).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from arraymill._inline import request_of
from arraymill.load._mix import read_entry
from arraymill.load._work import prepare
from suite.files import RESULTS
from suite.machine import facts
from suite.processes import arraymill_command, server_process

CALLS = {
    "sum of 8 KiB": "sum:8KiB:float64:inline",
    "60 sines of 64 KiB": f"{'sin(' * 60}x{')' * 60}.sum():64KiB:float64:inline",
}
HELD = "60 sines of 64 KiB"
"""Held to the tolerance."""

TOLERANCE = 0.15
METHOD = "/arraymill.v1.Arraymill/Compute"


Rates = dict[str, list[float]]


def body(mix: str) -> bytes:
    """Return what both send: a message of gRPC, which has a flag and a length before it."""
    message = request_of(prepare(read_entry(mix), seed=0, is_checked=False).job).SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


def by_h2load(address: str, clients: int, seconds: float, path: Path) -> float:
    """Return the calls per second that h2load measures.

    Raises:
        RuntimeError: Some calls have failed.
    """
    command = ["h2load", "--clients", str(clients), "--max-concurrent-streams", "1", "--threads", "1"]
    command += ["--duration", f"{seconds:g}", "--warm-up-time", "1", "--data", str(path)]
    command += ["--header", "content-type: application/grpc", "--header", "te: trailers", f"http://{address}{METHOD}"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", told)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", told)
    if rate is None or failed is None or any(map(int, failed.groups())):
        raise RuntimeError(f"h2load said {told}")
    return float(rate[1])


def by_arraymill(address: str, mix: str, clients: int, seconds: float, path: Path) -> float:
    """Return the calls per second that arraymill load measures."""
    words = ["--server", address, "--mix", mix, "--clients", str(clients), "--duration", str(seconds)]
    words += ["--warm-up", "1s"]
    words += ["--processes", "1", "--check", "0", "--fail-if", "errors>0", "-q", "-o", str(path)]
    subprocess.run([sys.executable, "-m", "arraymill", "load", *words], check=True, capture_output=True)
    (step,) = json.loads(path.read_text())["steps"]
    rate: float = step["jobs_per_second"]
    return rate


def main() -> int:
    """Measure in turn, and compare the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("h2load") is None:
        sys.exit("h2load is not installed; on Debian and Ubuntu: apt-get install nghttp2-client")
    told = {name: measured(mix, options.clients, options.seconds, options.rounds) for name, mix in CALLS.items()}
    write(told, options.clients)
    return 0 if abs(ratio(told[HELD]) - 1) <= TOLERANCE else 1


def measured(mix: str, clients: int, seconds: float, rounds: int) -> Rates:
    """Return the calls per second that each measures, in turn."""
    rates: Rates = {"h2load": [], "arraymill load": []}
    with tempfile.TemporaryDirectory() as name, server_process(arraymill_command(2, "128MiB")) as (address, _):
        request, report = Path(name, "request"), Path(name, "report.json")
        request.write_bytes(body(mix))
        for _ in range(rounds):
            rates["h2load"].append(by_h2load(address, clients, seconds, request))
            rates["arraymill load"].append(by_arraymill(address, mix, clients, seconds, report))
            print({name: round(values[-1], 1) for name, values in rates.items()}, flush=True)
    return rates


def ratio(rates: Rates) -> float:
    """Return what arraymill load measures, as a part of what h2load does."""
    return median(rates["arraymill load"]) / median(rates["h2load"])


def write(told: dict[str, Rates], clients: int) -> None:
    """Write what was measured, and print it."""
    document = {"machine": facts(), "clients": clients, "calls_per_second": told}
    (RESULTS / "local").mkdir(exist_ok=True)
    (RESULTS / "local" / "h2load.json").write_text(f"{json.dumps(document, indent=1)}\n")
    lines = [f"### The same calls by two load testers, {clients} connections with one call under way on each", ""]
    lines += ["| call | h2load | arraymill load | ratio |", "|---|---|---|---|"]
    for name, rates in told.items():
        figures = " | ".join(f"{median(values):,.0f} calls/s" for values in rates.values())
        lines.append(f"| {name} | {figures} | {ratio(rates):.3g} |")
    (RESULTS / "local" / "h2load.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
