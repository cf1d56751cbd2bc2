"""The gRPC server: the service, health and reflection on some addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from arraymill_proto.limits import MESSAGE_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.config import ConfigError
from arraymill_server.listen import Address
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.connections import Connections
from arraymill_server.rpc.guard import Check, answers, guard, unary
from arraymill_server.rpc.health import NAME as HEALTH
from arraymill_server.rpc.health import Health
from arraymill_server.rpc.servicer import Servicer
from arraymill_server.rpc.submitted import SubmittedServicer

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Arraymill"].full_name

MAX_PENDING: Final = 10_000
"""Calls of a method that gRPC holds until the event loop takes them: some 15 KB each, 80 KB with a message. It drops
what comes beyond, with a bare CANCELLED that tells nobody to try again. Its default is 1,000, and one burst of a client
reaches that; the loop takes some thousands in a second."""

MAX_PENDING_SECONDS: Final = 3600
"""How long gRPC holds them. By default it ends them after 30 s, again with a bare CANCELLED: of 256 clients on a
machine with ten times too much to do, 79 jobs ended so. They have deadlines of their own."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),  # the default never notices a dead peer
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC waits 60 s for the answer to a ping of its own, and asks nothing meanwhile: a dead peer is noticed late.
    ("grpc.http2.ping_timeout_ms", 25_000),
    ("grpc.server.max_pending_requests", MAX_PENDING),
    ("grpc.server_max_unrequested_time_in_server", MAX_PENDING_SECONDS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING + 1),  # by default those between are drawn by lot
)

Method: TypeAlias = Callable[[Any, Any], Awaitable[Any]]


class RpcServer:
    """Serves the handlers of a servicer.

    Args:
        servicer: The handlers.
        submitted: Those of submitted jobs.
        calls: Where calls are noted.
        addresses: Where to listen.
        drafts: Where to bind the Unix socket of a path instead.
        bulk_port: Of the bulk lane; 0: there is none.
        take_over: Listen at ports where another server does.
    """

    def __init__(
        self,
        servicer: Servicer,
        submitted: SubmittedServicer,
        calls: Calls,
        addresses: Sequence[Address],
        drafts: Mapping[str, Path],
        *,
        bulk_port: int = 0,
        take_over: bool = False,
    ) -> None:
        # Else a second server on the same port is an error, not a lottery.
        self._server = grpc.aio.server(options=(*_OPTIONS, ("grpc.so_reuseport", int(take_over))))
        self._calls = calls
        self._health = Health(("", SERVICE), calls)
        handlers = _handlers(servicer, submitted, calls)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        # Where gRPC can, it has a queue for each method then: who asks for a job's state does not wait behind jobs.
        self._server.add_registered_method_handlers(SERVICE, handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), self._server)
        self._drafts = drafts
        self.bound = tuple(self._bind(address) for address in addresses)
        """The addresses with the ports that were picked."""
        ports = {address.port for address in self.bound if not address.path}
        servicer.connections = Connections(ports | {bulk_port}, set(map(str, drafts.values())))

    def __repr__(self) -> str:
        return f"<RpcServer on {' '.join(map(str, self.bound))}>"

    async def start(self) -> None:
        """Serve; health says SERVING from now on."""
        await self._server.start()
        self._health.tell(is_serving=True)

    def close(self) -> None:
        """Take no new work; health says NOT_SERVING from now on."""
        self._calls.close()
        self._health.tell(is_serving=False)

    async def stop(self, grace_seconds: float) -> None:
        """Stop listening and end all calls: those that still run must be told so by now, or are cut off.

        To be called once: of two stops at a time the one that comes second cancels the calls of a server which the
        other has destroyed, and the process ends with SIGSEGV.

        Args:
            grace_seconds: What clients get to hear the ends of their calls.
        """
        self._calls.end()
        await self._server.stop(grace_seconds)

    def _bind(self, address: Address) -> Address:
        draft = self._drafts.get(address.path)
        target = str(replace(address, path=str(draft)) if draft is not None else address)
        try:
            port = self._server.add_insecure_port(target)
        except RuntimeError as exc:
            raise ConfigError(
                f"cannot listen on {address}: the address is in use or not of this machine; choose another --listen, "
                "or --take-over from an arraymill server that listens there"
            ) from exc
        return address if address.path else replace(address, port=port)


def _handlers(
    servicer: Servicer, submitted: SubmittedServicer, calls: Calls
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The service's methods.

    All take raw bytes: Run, so that `frames` reads them without a copy; the others, so that what cannot be read is
    answered like any other mistake.
    """

    def once(method: Method, request: Any, response: Any, *checks: Check) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(
            unary(method, request, calls, *checks), response_serializer=response.SerializeToString
        )

    return {
        "Compute": once(servicer.compute, pb.ComputeRequest, pb.ComputeResponse, servicer.check_job),
        "Pipeline": grpc.stream_stream_rpc_method_handler(guard(servicer.pipeline, calls)),
        "Run": grpc.stream_stream_rpc_method_handler(guard(servicer.run, calls)),
        "SubmitJob": once(submitted.submit_job, pb.SubmitJobRequest, pb.Job, servicer.check_new),
        "GetJob": once(submitted.get_job, pb.GetJobRequest, pb.Job),
        "WatchJob": grpc.unary_stream_rpc_method_handler(
            answers(submitted.watch_job, pb.WatchJobRequest, calls),
            response_serializer=pb.Job.SerializeToString,
        ),
        "ListJobs": once(submitted.list_jobs, pb.ListJobsRequest, pb.ListJobsResponse),
        "CancelJob": once(submitted.cancel_job, pb.CancelJobRequest, pb.Job),
        "DeleteJob": once(submitted.delete_job, pb.DeleteJobRequest, pb.DeleteJobResponse),
        "ListArrays": once(servicer.list_arrays, pb.ListArraysRequest, pb.ListArraysResponse),
        "DescribeArray": once(servicer.describe_array, pb.DescribeArrayRequest, pb.ArrayInfo),
        "DeleteArray": once(servicer.delete_array, pb.DeleteArrayRequest, pb.DeleteArrayResponse),
        "GetServerInfo": once(servicer.get_server_info, pb.GetServerInfoRequest, pb.ServerInfo),
    }
