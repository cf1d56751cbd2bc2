"""The lanes of arraymill: on one machine a client takes the same-host lane by itself, so that others must be asked for.

"memory": what a client does that is told nothing: arrays lie in memory that client and server share.
"bulk": large arrays on plain sockets over loopback TCP, as between machines.
"frames": everything in messages of gRPC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import arraymill as am

SWITCHES: Final[Mapping[str, Mapping[str, bool]]] = {
    "memory": {},
    "bulk": {"shared": False},
    "frames": {"shared": False, "bulk": False},
}
"""What a client of each is made with."""

LANE: Final = "memory"
"""Of contestants that do not say."""


@contextmanager
def connect(address: str, lane: str) -> Iterator[am.Client]:
    """Yield a client of a lane.

    Raises:
        RuntimeError: It shares memory with the server where it must not, or has none where it should: what was
            measured then would bear a wrong name.
    """
    with am.Client(address, **SWITCHES[lane]) as mill:
        shares = mill.empty(1).base is not None
        if shares != (lane == "memory"):
            raise RuntimeError(f"a client of lane {lane!r} shares {'' if shares else 'no '}memory with the server")
        yield mill
