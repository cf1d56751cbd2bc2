"""Memory that a server shares with this process, and where arrays lie in it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from arraymill_proto.errors import InternalError
from arraymill_proto.memory import is_sealed


class _SharedMapping(mmap.mmap):
    """A mapping that is told from those of files."""


class Segment:
    """Memory that both sides have mapped."""

    def __init__(self, number: int, fd: int, nbytes: int) -> None:
        self.number: Final = number
        if not is_sealed(fd, nbytes):
            raise InternalError("the server shares memory whose size it could change: it is not used")
        self.mapping: Final = _SharedMapping(fd, nbytes)
        """Mapped as long as an array refers to it."""
        self.bytes: Final[NDArray[np.uint8]] = np.frombuffer(self.mapping, np.uint8)
        """All of it, writable."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies."""

    segment: int
    offset: int
    """Bytes from the start of the segment to element (0, …, 0)."""
    strides: tuple[int, ...]


def is_shared(array: object) -> bool:
    """Tell whether an array lies in memory that `empty` of a client got from a server: it is not copied to go there.

    It does so as long as it lives, and so do its views; after the end of the client the server reads it there no more.
    An array that `empty` made where no memory could be had is an ordinary one.

    Args:
        array: An ndarray; of anything else the answer is no.
    """
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = cast("object", owner.base)
    return isinstance(owner.obj if isinstance(owner, memoryview) else owner, _SharedMapping)
