"""Files that do not fit memory: memory-mapped in, memory-mapped out, through a server of fixed memory.

Neither this process nor the server ever holds the array: pages are read as the server asks for them, and results are
written where they belong.

    python examples/larger_than_memory.py IN.npy OUT.npy     # the server is $ARRAYMILL_SERVER, else localhost:50051
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

import arraymill as am


def standardise(mill: am.Client, source: Path, target: Path) -> None:
    """Write a file of the same shape, with mean 0 and deviation 1. Two passes: each reads the file once."""
    x = np.load(source, mmap_mode="r")
    a = am.asarray(x)
    value = (a - a.mean()) / a.std()
    out = open_memmap(target, mode="w+", dtype=value.dtype, shape=value.shape)
    mill.compute(value, out=out, progress=tell)
    out.flush()


def tell(progress: am.Progress) -> None:
    """Say how far the job is; called now and then."""
    print(f"\r{progress.blocks_done} of {progress.blocks} blocks", end="", file=sys.stderr, flush=True)


def main(source: str, target: str) -> None:
    """Standardise a file."""
    with am.Client() as mill:
        standardise(mill, Path(source), Path(target))
    print(file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
