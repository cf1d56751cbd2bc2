"""Another client with a large job: `python -m suite.feeder ADDRESS LANE NBYTES` sums an array for each line."""

from __future__ import annotations

import sys
from typing import Final

from suite.data import numbers
from suite.lanes import connect
from suite.processes import READY

START: Final = "start"
DONE: Final = "done"


def main() -> None:
    """Say that the array is there; then one word for each sum."""
    address, lane, nbytes = sys.argv[1:]
    x = numbers(int(nbytes))
    with connect(address, lane) as mill:
        print(READY, flush=True)
        for _ in sys.stdin:
            mill.sum(x)
            print(DONE, flush=True)


if __name__ == "__main__":
    main()
