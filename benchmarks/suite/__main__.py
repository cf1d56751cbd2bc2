"""`make bench`: arraymill beside other ways to compute, in turn in the same run.

make bench                                              # every row, 20 minutes
make bench ARGS="--rows sum,sqrt"                       # some of them; the others' results stay what they are
make bench ARGS="--rows sum --sizes 1GiB --contestants arraymill,flight --rounds 21 --results /tmp/r"
make bench ARGS=--quick                                 # does everything run? Small, into results/local
make bench ARGS=--readme                                # measures nothing: reports and README anew from the samples

Writes benchmarks/results/ROW.json, .md and .svg, and report.md, which has all promises and all rows. The exit code is 1
when a promise of a row is broken (not with --quick), or when a row could not be measured. Contestants whose packages
cannot be had are skipped, and the results say why.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from suite.contestants import HOMES
from suite.files import RESULTS, rewrite, write
from suite.lineup import Contestant, Lineup
from suite.readme import README, table, updated
from suite.referee import Referee, command
from suite.report import broken
from suite.row import Row, quick
from suite.rows import ROWS
from suite.sizes import parse_size


def main() -> int:
    """Measure rows; return the exit code."""
    options = _options()
    if options.readme:
        rewrite(options.results)
        README.write_text(updated(README.read_text(), table(options.results)))
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))

    def start(lineup: Lineup, name: str) -> Contestant:
        return lineup.start(*command(name, options.environments))

    failures: list[str] = []
    with Lineup() as lineup:
        referee = Referee(lineup, start, say=lambda line: print(line, flush=True))
        for name in options.rows:
            row, asked = ROWS[name], _asked(ROWS[name], options)
            if not asked.entries:
                print(f"{name}: none of its contestants was asked for\n")
                continue
            print(f"{name}: {row.title}", flush=True)
            begin = time.monotonic()
            results = referee.measure(name, asked)
            print(write(row, results, options.results, options.environments), flush=True)
            print(f"{name}: {time.monotonic() - begin:.0f} s\n", flush=True)
            if not any(each.samples for each in results.sizes) or (broken(row, results) and not options.quick):
                failures.append(name)
    if failures:
        print(f"broken promises, or nothing measured: {', '.join(failures)}")
    return int(bool(failures))


def _asked(row: Row, options: argparse.Namespace) -> Row:
    """Return what of a row was asked for."""
    if options.quick:
        row = quick(row)
    entries = tuple(entry for entry in row.entries if entry.contestant in options.contestants)
    sizes = tuple(options.sizes) if row.has_sizes and options.sizes else row.sizes
    if not options.rounds:
        return replace(row, entries=entries, sizes=sizes)
    return replace(row, entries=entries, sizes=sizes, rounds=options.rounds, further_rounds=0)


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _sizes(text: str) -> list[int]:
    try:
        return [parse_size(each) for each in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds")
    return int(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rows, contestants = list(ROWS), list(HOMES)
    parser.add_argument("--rows", type=_names(rows), default=rows, help=f"of {','.join(rows)}")
    parser.add_argument(
        "--contestants", type=_names(contestants), default=contestants, help=f"of {','.join(contestants)}"
    )
    parser.add_argument("--sizes", type=_sizes, help="of the arrays, where a row lets choose: 1MiB,16MiB,256MiB,1GiB")
    parser.add_argument("--rounds", type=_count, help="counted rounds of each row")
    parser.add_argument("--quick", action="store_true", help="small arrays and few rounds: does everything run?")
    parser.add_argument("--results", type=Path, help="folder of the results")
    parser.add_argument(
        "--environments", type=Path, default=Path(sys.prefix), help="folder of the virtual environments of the peers"
    )
    parser.add_argument(
        "--readme", action="store_true", help="write the reports and README's table anew from the samples, and end"
    )
    options = parser.parse_args()
    options.results = options.results or (RESULTS / "local" if options.quick else RESULTS)
    return options


if __name__ == "__main__":
    sys.exit(main())
