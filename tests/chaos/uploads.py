"""A process that uploads until it is killed: `python -m chaos.uploads ADDRESS COUNT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import numpy as np

import arraymill as am

BYTES: Final = 4 << 30
"""Of one upload: seconds, whatever the link. The kernel has one page of zeros for all of it."""


async def upload(address: str, count: int) -> None:
    """Send some arrays at once."""
    x = np.zeros(BYTES // 8)
    async with am.AsyncClient(address, connect_timeout=60, shared=False) as mill:
        await asyncio.gather(*(mill.sum(x) for _ in range(count)))


if __name__ == "__main__":
    asyncio.run(upload(sys.argv[1], int(sys.argv[2])))
