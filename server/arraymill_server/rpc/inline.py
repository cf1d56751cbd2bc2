"""All of a small job in one message each way."""

from __future__ import annotations

from arraymill_proto.codec import type_to_pb
from arraymill_proto.errors import InvalidJobError
from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.metrics.counts import INLINE, Traffic
from arraymill_server.plan.model import ResultSpec, Wanted
from arraymill_server.rpc import messages
from arraymill_server.rpc.inputs import InlineInputs


class OneAnswer:
    """What all jobs have in common whose results go in one message.

    Args:
        graph: The job's.
        traffic: Counts bytes; None: nobody asks for them.

    Raises:
        InvalidJobError: Its inline inputs are too large all together.
    """

    def __init__(self, graph: Graph, traffic: Traffic | None = None) -> None:
        self._inline = InlineInputs(graph)
        self._traffic = traffic or Traffic()
        self._specs: tuple[ResultSpec, ...] = ()
        self._data: list[bytearray] = []
        self._peer: Peer | None = None
        self.job_id = ""
        """Empty until the job runs."""
        self.sent_bytes: int = 0
        self.placed_bytes = 0
        """Of results that are left in memory which the client shares."""

    def start(self, started: Started, peer: Peer) -> None:
        """Make room for the results; none for those that are left elsewhere."""
        self._peer, self.job_id = peer, started.job_id
        self._specs = started.results
        self._data = [bytearray(0 if started.is_placed else result.nbytes) for result in started.results]
        self._traffic.received[INLINE] += self._inline.inline_bytes

    def send(self, outgoing: Outgoing, token: int) -> None:
        """Copy a range of a result."""
        assert self._peer is not None
        for output in outgoing.outputs:
            self._data[output][outgoing.offset : outgoing.offset + len(outgoing.data)] = outgoing.data
        self.sent_bytes += len(outgoing.data) * len(outgoing.outputs)
        self._peer.done(token)

    def progress(self, blocks_done: int) -> None:
        """The answer is the only message."""

    def results(self) -> list[pb.InlineArray]:
        """The results, once the job has ended, for its answer."""
        self._traffic.sent[INLINE] += sum(map(len, self._data))
        return [
            pb.InlineArray(type=type_to_pb(spec.type), data=bytes(data), order=messages.wire_order(spec.order))
            for spec, data in zip(self._specs, self._data, strict=True)
        ]


class InlineExchange(OneAnswer):
    """All inputs came in the request, all results go in the response.

    Args:
        graph: As of `OneAnswer`.
        traffic: Likewise.

    Raises:
        InvalidJobError: An input is not inline, or all together are too large.
    """

    def __init__(self, graph: Graph, traffic: Traffic | None = None) -> None:
        super().__init__(graph, traffic)
        if self._inline.missing is not None:
            raise InvalidJobError(
                f"input {self._inline.missing} is not inline; Compute takes inline inputs only, one that is streamed "
                "belongs on Run",
                input=self._inline.missing,
            )
        self.received_bytes = 0

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        assert self._peer is not None
        self._inline.fill(wanted, target)
        self.received_bytes += wanted.nbytes
        self._peer.done(token)

    def close(self) -> None:
        """Nothing is left behind: every range is copied at once."""
