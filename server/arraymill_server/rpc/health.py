"""gRPC's health service. That of grpc_health writes to a watcher while it holds the lock that a change of the status
needs: a watcher that does not read would keep the server from shutting down."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from arraymill_proto.errors import ArraymillError
from arraymill_server.rpc.calls import Calls, client_of, shutting_down
from arraymill_server.rpc.status import GONE, status_of
from arraymill_server.rpc.streams import Context

NAME: Final = pb.DESCRIPTOR.services_by_name["Health"].full_name


class Health(health_pb2_grpc.HealthServicer):
    """Tells whether services serve.

    Args:
        names: The services; "" is the server as a whole.
        calls: Counts those that watch.
    """

    def __init__(self, names: Collection[str], calls: Calls) -> None:
        self._names = names
        self._calls = calls
        self._is_serving = False
        self._watchers: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        return f"<Health: {'serving' if self._is_serving else 'not serving'}, {len(self._watchers)} watchers>"

    def tell(self, *, is_serving: bool) -> None:
        """Change the status of all services."""
        self._is_serving = is_serving
        for news in self._watchers:
            news.set()

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:  # noqa: N802
        """Tell the status now."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: pb.HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Tell the status now, and whenever it has changed, until the calls are ended."""
        try:
            with self._calls.open(), self._calls.waits.taken(client_of(context)):
                await self._watch(request.service, context)
        except GONE as exc:
            raise asyncio.CancelledError from exc
        except ArraymillError as exc:
            await context.abort_with_status(status_of(exc))
        except asyncio.CancelledError:
            if context.cancelled() or not self._calls.is_ended:
                raise
            await context.abort_with_status(status_of(shutting_down()))

    async def _watch(self, name: str, context: Context) -> None:
        news, told = asyncio.Event(), None
        self._watchers.add(news)
        try:
            while True:
                news.clear()
                if (status := self._status(name)) != told:
                    await context.write(pb.HealthCheckResponse(status=status))
                    told = status
                await news.wait()
        finally:
            self._watchers.discard(news)

    def _status(self, name: str) -> Any:  # ServingStatus, which the stubs do not name
        if name not in self._names:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        return pb.HealthCheckResponse.SERVING if self._is_serving else pb.HealthCheckResponse.NOT_SERVING
