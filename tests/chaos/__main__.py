"""`make chaos`: the table of faults in full, with its figures; exit code 1 when an invariant is broken.

make chaos                                          # every row: an hour and a half
make chaos ARGS="deaths links --seed 7"             # two rows, as they were with this seed
make chaos ARGS="soak --minutes 5"
make chaos ARGS=--short                             # every row as small as in `make test`
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import secrets
import sys
from time import monotonic
from typing import Any, Final

from chaos.figures import Figures, table
from chaos.invariants import InvariantError
from chaos.machine import NotHereError
from chaos.table import ROWS, Row

STUCK_SECONDS: Final = 3 * 3600.0
"""After so long even the watch over a row hangs: the stacks are written, and that is the end."""


def main() -> int:
    """Run rows; return the exit code."""
    options = _options()
    print(f'replay with make chaos ARGS="{" ".join(_words(options))}"', flush=True)
    told: list[tuple[str, str, Figures, tuple[str, ...]]] = []
    for name in options.rows:
        row = ROWS[name]
        begin = monotonic()
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        figures, broken = _run(row, options.seed, _arguments(name, row, options))
        faulthandler.cancel_dump_traceback_later()
        told.append((row.fault, row.load, figures, broken))
        state = "broken" if broken else "holds"
        print(f"{name}: {state} after {monotonic() - begin:.0f} s", *broken, sep="\n  ", flush=True)
    print(f"\n{table(told)}")
    return 1 if any(broken for *_, broken in told) else 0


def _run(row: Row, seed: int, arguments: dict[str, Any]) -> tuple[Figures, tuple[str, ...]]:
    try:
        return asyncio.run(_figures(row, seed, arguments)), ()
    except InvariantError as error:
        return error.figures, error.complaints
    except NotHereError as error:
        return {"not tried": str(error)}, ()


async def _figures(row: Row, seed: int, arguments: dict[str, Any]) -> Figures:
    return await row.run(seed, **arguments)


def _arguments(name: str, row: Row, options: argparse.Namespace) -> dict[str, Any]:
    arguments: dict[str, Any] = {"is_short": options.short}
    if name == "soak" and options.minutes is not None:
        arguments["minutes"] = options.minutes
    return arguments


def _words(options: argparse.Namespace) -> list[str]:
    """Return the words that lead to the same run."""
    words: list[str] = [*options.rows, *(["--short"] if options.short else [])]
    if options.minutes is not None:
        words += ["--minutes", f"{options.minutes:g}"]
    return [*words, "--seed", str(options.seed)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Run the table of faults.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="of a run to be replayed")
    parser.add_argument("--minutes", type=float, help="of the soak; 30 unless given")
    parser.add_argument("--short", action="store_true", help="as small as in the tests, and no times held to bounds")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}: there are {', '.join(ROWS)}")
    options.rows = options.rows or list(ROWS)
    return options


if __name__ == "__main__":
    sys.exit(main())
