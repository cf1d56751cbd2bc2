"""A client's end of a job in memory: answers wants from arrays and collects results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.plan.model import Wanted


class MemoryExchange:
    """An `Exchange` whose client is a list of arrays.

    Args:
        arrays: The inputs, by number.
    """

    def __init__(self, arrays: Sequence[NDArray[np.generic]]) -> None:
        self._arrays = arrays
        self._peer: Peer | None = None
        self._started: Started | None = None
        self._data: list[bytearray] = []
        self.received_bytes = 0
        self.sent_bytes = 0
        self.blocks_done = 0
        self.is_closed = False

    def start(self, started: Started, peer: Peer) -> None:
        self._started, self._peer = started, peer
        self._data = [bytearray(result.nbytes) for result in started.results]

    def want(self, wanted: Wanted, target: memoryview, token: int) -> None:
        ordered = self._arrays[wanted.number].transpose(wanted.order)
        target[:] = ordered.tobytes()[wanted.offset : wanted.offset + wanted.nbytes]
        self.received_bytes += wanted.nbytes
        self._done(token)

    def send(self, outgoing: Outgoing, token: int) -> None:
        for output in outgoing.outputs:
            self._data[output][outgoing.offset : outgoing.offset + len(outgoing.data)] = outgoing.data
        self.sent_bytes += len(outgoing.data)
        self._done(token)

    def progress(self, blocks_done: int) -> None:
        self.blocks_done = blocks_done

    def close(self) -> None:
        self.is_closed = True

    def results(self) -> list[NDArray[np.generic]]:
        """The results as the user sees them."""
        assert self._started is not None
        arrays: list[NDArray[np.generic]] = []
        for result, data in zip(self._started.results, self._data, strict=True):
            stored = np.frombuffer(data, result.type.dtype).reshape([result.type.shape[axis] for axis in result.order])
            arrays.append(stored.transpose(np.argsort(result.order)))
        return arrays

    def _done(self, token: int) -> None:
        assert self._peer is not None
        self._peer.done(token)
