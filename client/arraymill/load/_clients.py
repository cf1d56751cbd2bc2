"""The clients of a generator: each with connections of its own, one for each way that the mix asks for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import numpy as np

from arraymill._bulk import BulkRoute
from arraymill._caller import Caller
from arraymill._client import CONNECT_SECONDS
from arraymill._connection import Connection
from arraymill._graph import Computation
from arraymill._inline import compute_inline
from arraymill._limits import INFORMATION_SECONDS, within
from arraymill._memory_route import MemoryRoute
from arraymill._retry import Retry
from arraymill._transfer import Options
from arraymill.load._mix import Transport
from arraymill_proto.errors import ConnectionFailedError
from arraymill_proto.graph import ArrayType
from arraymill_proto.limits import FRAME_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

AT_ONCE: Final = 32
"""Clients that connect at a time."""

SLOTS: Final = 1 << 20
"""More jobs than a generator ever has under way: a job that waited for its turn in the client would be measured as one
that waited for the server."""

_ALL: Final = (True, True)
_WAYS: Final = {
    Transport.AUTO: _ALL,
    Transport.MEMORY: _ALL,
    Transport.BULK: (False, True),
    Transport.GRPC: (False, False),
    Transport.INLINE: (False, False),
}
"""Whether shared memory and the bulk lane may be used. Of the others, the size of a job decides."""


class LoadClient:
    """One client. Nothing is tried again: every failure is counted.

    Args:
        address: Of the server, in the form of `_address.resolve`.
        transports: That the mix asks for.
    """

    def __init__(self, address: str, transports: Collection[Transport]) -> None:
        name = os.urandom(12).hex()
        ways = {_WAYS[transport]: _caller(address, name, *_WAYS[transport]) for transport in transports}
        self._address = address
        self._callers = {transport: ways[_WAYS[transport]] for transport in transports}

    async def connect(self) -> None:
        """Connect, and see that the ways are there.

        Raises:
            ArraymillError: No server answers, or it does not offer what the mix asks for.
        """
        for transport, caller in self._callers.items():
            async with within(INFORMATION_SECONDS) as remaining:
                info = await caller.ready(remaining)
            if transport is Transport.BULK and (self._address.startswith("unix:") or not info.bulk_port):
                raise ConnectionFailedError(
                    f"the server at {self._address} offers no bulk lane, which the mix asks for"
                )
            if transport is Transport.MEMORY and not await _shares(caller):
                raise ConnectionFailedError(
                    f"the server at {self._address} shares no memory with this client, which the mix asks for"
                )

    async def run(
        self, transport: Transport, job: Computation, timeout: float, times: Callable[[pb.JobTimes], None]
    ) -> Sequence[Any]:
        """Run a job; cancelling it cancels the job on the server.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        caller, options = self._callers[transport], Options(timeout=timeout, times=times)
        if transport is not Transport.INLINE:
            return (await caller.run(job, options))[0]
        async with within(timeout) as remaining:
            with caller.on(caller) as connection:
                await connection.ready()
                return await compute_inline(connection, job, options, remaining())

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(caller.close() for caller in {*self._callers.values()}))


async def connect_all(clients: Sequence[LoadClient]) -> None:
    """Connect some clients.

    Raises:
        ArraymillError: One cannot.
    """
    for begin in range(0, len(clients), AT_ONCE):
        await asyncio.gather(*(client.connect() for client in clients[begin : begin + AT_ONCE]))


async def _shares(caller: Caller) -> bool:
    """Tell whether a client has memory in common with its server."""
    return (await caller.empty(ArrayType((1,), np.dtype(np.float64)), None)).base is not None


def _caller(address: str, name: str, is_shared: bool, is_bulk: bool) -> Caller:
    return Caller(
        Connection(address, connect_timeout=CONNECT_SECONDS, client=name),
        timeout=None,
        retry=Retry(0),
        frame_bytes=FRAME_BYTES,
        bulk=BulkRoute(address, is_wanted=is_bulk),
        memory=MemoryRoute(address, is_wanted=is_shared),
        slots=SLOTS,
    )
