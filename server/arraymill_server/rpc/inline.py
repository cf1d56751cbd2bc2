"""All of a small job in one message each way."""

from __future__ import annotations

from arraymill_proto.codec import type_to_pb
from arraymill_proto.errors import InvalidJobError
from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc import messages
from arraymill_server.rpc.inputs import InlineInputs


class InlineExchange:
    """All inputs came in the request, all results go in the response.

    Raises:
        InvalidJobError: An input is not inline, or all together are too large.
    """

    def __init__(self, graph: Graph) -> None:
        self._inputs = InlineInputs(graph)
        if self._inputs.missing is not None:
            raise InvalidJobError(
                f"input {self._inputs.missing} is not inline; Compute takes inline inputs only, one that is streamed "
                "belongs on Run",
                input=self._inputs.missing,
            )
        self._started: Started | None = None
        self._peer: Peer | None = None
        self._results: list[bytearray] = []
        self.job_id = ""
        """Empty until the job runs."""
        self.received_bytes = 0
        self.sent_bytes = 0

    def start(self, started: Started, peer: Peer) -> None:
        self._started, self._peer, self.job_id = started, peer, started.job_id
        self._results = [bytearray(result.nbytes) for result in started.results]

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        assert self._peer is not None
        self._inputs.fill(wanted, target)
        self.received_bytes += wanted.nbytes
        self._peer.done(token)

    def send(self, outgoing: Outgoing, token: int) -> None:
        assert self._peer is not None
        for output in outgoing.outputs:
            self._results[output][outgoing.offset : outgoing.offset + len(outgoing.data)] = outgoing.data
        self.sent_bytes += len(outgoing.data) * len(outgoing.outputs)
        self._peer.done(token)

    def progress(self, blocks_done: int) -> None:
        """The answer is the only message."""

    def close(self) -> None:
        """Nothing is left behind: every range is copied at once."""

    def results(self) -> list[pb.InlineArray]:
        """The results, once the job has ended."""
        assert self._started is not None
        return [
            pb.InlineArray(type=type_to_pb(result.type), data=bytes(data), order=messages.wire_order(result.order))
            for result, data in zip(self._started.results, self._results, strict=True)
        ]
