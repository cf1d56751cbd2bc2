"""Arrays in mapped files: NumPy does not see that two mappings are the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from mmap import mmap
from pathlib import Path
from typing import Final, cast

import numpy as np

from arraymill._layout import AnyArray

_MAPS: Final = Path("/proc/self/maps")


def may_be_same_file(inputs: Iterable[AnyArray], outs: Iterable[AnyArray | None]) -> bool:
    """Tell whether an input and an output may lie in two mappings of the same file or shared memory.

    What overlaps within one mapping NumPy sees. Slow: it reads the system's list of mappings.
    """
    read = [array for array in inputs if _is_mapped(array)]
    written = [array for array in outs if array is not None and _is_mapped(array)]
    if not read or not written:
        return False
    try:
        mappings = list(_mappings())
    except OSError:  # not on this system
        return True
    pairs = ((_mapping(one, mappings), _mapping(other, mappings)) for one in read for other in written)
    return any(one is None or other is None or (one[1] == other[1] and one[0] != other[0]) for one, other in pairs)


def _is_mapped(array: AnyArray) -> bool:
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = cast("object", owner.base)
    return isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap)


def _mappings() -> Iterator[tuple[range, str]]:
    """The mappings of this process: addresses, and device and inode."""
    for line in _MAPS.read_text().splitlines():
        span, _, _, device, inode = line.split(maxsplit=5)[:5]
        begin, end = (int(address, 16) for address in span.split("-"))
        yield range(begin, end), f"{device} {inode}"


def _mapping(array: AnyArray, mappings: list[tuple[range, str]]) -> tuple[range, str] | None:
    address: int = array.__array_interface__["data"][0]
    return next((mapping for mapping in mappings if address in mapping[0]), None)
