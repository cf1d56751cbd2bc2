"""All of a small job in one message each way."""

from __future__ import annotations

from arraymill_proto.codec import type_to_pb
from arraymill_proto.errors import InvalidJobError
from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.plan.model import ResultSpec, Wanted
from arraymill_server.rpc import messages
from arraymill_server.rpc.inputs import InlineInputs


class InlineResults:
    """Results that go in one message."""

    def __init__(self) -> None:
        self._specs: tuple[ResultSpec, ...] = ()
        self._data: list[bytearray] = []

    def open(self, started: Started) -> None:
        """Make room for the results of a job that runs; none for those that are left elsewhere."""
        self._specs = started.results
        self._data = [bytearray(0 if started.is_placed else result.nbytes) for result in started.results]

    def take(self, outgoing: Outgoing) -> int:
        """Copy a range of a result; return its bytes."""
        for output in outgoing.outputs:
            self._data[output][outgoing.offset : outgoing.offset + len(outgoing.data)] = outgoing.data
        return len(outgoing.data) * len(outgoing.outputs)

    def messages(self) -> list[pb.InlineArray]:
        """The results, once the job has ended."""
        return [
            pb.InlineArray(type=type_to_pb(spec.type), data=bytes(data), order=messages.wire_order(spec.order))
            for spec, data in zip(self._specs, self._data, strict=True)
        ]


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
        self._results = InlineResults()
        self._peer: Peer | None = None
        self.job_id = ""
        """Empty until the job runs."""
        self.received_bytes = 0
        self.sent_bytes = 0

    def start(self, started: Started, peer: Peer) -> None:
        self._peer, self.job_id = peer, started.job_id
        self._results.open(started)

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        assert self._peer is not None
        self._inputs.fill(wanted, target)
        self.received_bytes += wanted.nbytes
        self._peer.done(token)

    def send(self, outgoing: Outgoing, token: int) -> None:
        assert self._peer is not None
        self.sent_bytes += self._results.take(outgoing)
        self._peer.done(token)

    def progress(self, blocks_done: int) -> None:
        """The answer is the only message."""

    def close(self) -> None:
        """Nothing is left behind: every range is copied at once."""

    def results(self) -> list[pb.InlineArray]:
        """The results, once the job has ended."""
        return self._results.messages()
