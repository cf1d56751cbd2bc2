"""All memory that tasks may name, under one count of addresses: the arena, and beside it memory shared with clients.

Theory of operation. An address is a number of bytes. The arena has those from 0 on; a *segment*, memory that a client
on the same machine has mapped as well, has those from `base(number)` on, far behind the arena and far from each other.
So everything that names memory (plans, tasks, messages) goes on naming it by one integer, and only who touches bytes
asks here. A range lies in one memory as a whole, or it is a defect.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]

_SHIFT: Final = 40

SPAN_BYTES: Final = 1 << _SHIFT
"""Addresses of each memory, more than any has bytes: 1 TiB."""


def base(number: int) -> int:
    """Return the address of the first byte of a segment, which are counted from 1."""
    return number << _SHIFT


class Memory:
    """The memory that a process can touch.

    Args:
        arena: A writable buffer: the whole arena.
    """

    def __init__(self, arena: Any) -> None:
        self._all: dict[int, Bytes] = {0: np.frombuffer(arena, np.uint8)}
        """By number; 0 is the arena."""

    def __repr__(self) -> str:
        return f"<Memory {self._all[0].size:,} bytes of arena, {len(self._all) - 1} segments>"

    def add(self, number: int, segment: Any) -> None:
        """Let tasks name a segment from now on.

        Args:
            number: From 1; not in use.
            segment: A writable buffer.
        """
        self._all[number] = np.frombuffer(segment, np.uint8)

    def remove(self, number: int) -> None:
        """Let nobody name a segment any more."""
        del self._all[number]

    def holding(self, low: int, high: int) -> tuple[Bytes, int] | None:
        """Return the memory in which a range lies, and the address of its first byte; None when it lies in none.

        Args:
            low: First address of the range.
            high: First address behind it.
        """
        found = self._all.get(low >> _SHIFT)
        first = low >> _SHIFT << _SHIFT
        return None if found is None or high - first > found.size or high < low else (found, first)

    def bytes(self, address: int, length: int) -> memoryview:
        """Return a range, writable.

        Raises:
            ValueError: It lies in no memory.
        """
        found = self.holding(address, address + length)
        if found is None:
            raise ValueError(f"the {length:,} bytes from address {address:#x} on lie in no memory")
        memory, first = found
        return memory.data[address - first : address - first + length]
