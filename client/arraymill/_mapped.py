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
    """Tell whether an input and an output may be mappings of the same file or shared memory.

    Slow: it reads the system's list of mappings.
    """
    read = [array for array in inputs if _is_mapped(array)]
    written = [array for array in outs if array is not None and _is_mapped(array)]
    if not read or not written:
        return False
    try:
        mappings = list(_mappings())
    except OSError:  # not on this system
        return True
    return not {_file(array, mappings) for array in read}.isdisjoint({_file(array, mappings) for array in written})


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


def _file(array: AnyArray, mappings: list[tuple[range, str]]) -> str | None:
    address: int = array.__array_interface__["data"][0]
    return next((file for addresses, file in mappings if address in addresses), None)
