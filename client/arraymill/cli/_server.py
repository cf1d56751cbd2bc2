"""The commands about the server itself: `serve`, `health`, `info`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import click
import grpc
from google.protobuf.wrappers_pb2 import StringValue, UInt32Value

from arraymill import ServerInfo
from arraymill._address import resolve
from arraymill._errors import from_rpc_error
from arraymill._quantities import bytes_text
from arraymill.cli._exit_codes import ExitCode
from arraymill.cli._options import Settings, connected
from arraymill.cli._serve import serve as become_server
from arraymill.cli._session import converse
from arraymill.cli._show import seconds_text, show_json, show_table

HEALTH_SECONDS: Final = 3.0
"""How long health waits unless told otherwise: below the 5 s that container engines are usually told."""

_STATUS: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


@click.command(
    context_settings={"ignore_unknown_options": True}, add_help_option=False, options_metavar="[--listen ADDRESS] …"
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Start a server (arraymill serve --help)."""
    become_server(arguments)


@click.command()
@connected
def health(settings: Settings) -> None:
    """Ask whether the server is healthy: exit code 0 when it serves, 1 when it does not, 4 when there is none.

    Waits 3 seconds unless --timeout says otherwise; exit code 6 when no answer came by then. arraymill --help lists the
    others.
    """
    address = resolve(settings.server)
    status = ask_health(address, settings.timeout or HEALTH_SECONDS)
    if settings.as_json:
        show_json({"server": address, "status": status})
    elif not settings.quiet:
        click.echo(f"{address}: {status}")
    raise click.exceptions.Exit(ExitCode.OK if status == "SERVING" else ExitCode.FAILED)


def ask_health(address: str, timeout: float) -> str:
    """Return what the standard health service of a server says of it as a whole.

    The messages of grpc.health.v1 have one field each: on the wire a HealthCheckRequest is a StringValue, and a
    HealthCheckResponse a UInt32Value. So the bare client needs no package for them.

    Raises:
        ArraymillError: What went wrong.
    """
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=UInt32Value.FromString,
        )
        try:
            number = check(StringValue(), timeout=timeout).value
        except grpc.RpcError as error:
            raise from_rpc_error(error, address) from error
    return _STATUS[number] if number < len(_STATUS) else f"status {number}"


@click.command()
@click.option("--operations", is_flag=True, help="List every operation that it offers.")
@connected
def info(settings: Settings, operations: bool) -> None:
    """Show a server's versions, limits and load."""
    told = converse(settings, lambda mill: mill.info(timeout=settings.timeout))
    if settings.as_json:
        show_json({**asdict(told), "server": resolve(settings.server)})
    elif operations:
        rows = [(entry.name, entry.kind, ", ".join(entry.params), entry.summary) for entry in told.operations]
        show_table(("operation", "kind", "parameters", "result"), rows)
    else:
        for name, text in _facts(told).items():
            click.echo(f"{name:<12} {text}")


def _facts(told: ServerInfo) -> dict[str, str]:
    return {
        "version": f"{told.version}, NumPy {told.numpy_version}, protocol {told.protocol}",
        "workers": _workers(told),
        "arena": f"{bytes_text(told.arena_bytes)}, {bytes_text(told.arena_reserved_bytes)} of it jobs', "
        f"{bytes_text(told.arena_free_bytes)} free, {bytes_text(told.arena_largest_free_bytes)} in one piece",
        "arrays": f"{bytes_text(told.resident_bytes)} of {bytes_text(told.resident_budget_bytes)} kept",
        "jobs": ", ".join([f"{told.running_jobs} running, {told.waiting_jobs} waiting", *_counts(told.ended_jobs)]),
        "refusals": ", ".join(_counts(told.refusals)) or "none",
        "received": _traffic(told.received_bytes),
        "sent": _traffic(told.sent_bytes),
        "connections": f"{told.connections}",
        "calls": f"{told.job_calls} of {told.max_job_calls} run jobs, {told.waiting_calls} wait, "
        f"{told.feeding_calls} feed submitted jobs; {told.refused_calls} refused so far",
        "up": f"{seconds_text(told.uptime_seconds)}, late by {seconds_text(told.loop_lag_seconds)} at most lately",
        "limits": f"frames of {bytes_text(told.frame_bytes)}, messages of {bytes_text(told.message_bytes)}, "
        f"{told.max_nodes} nodes, {told.max_dimensions} dimensions",
        "bulk lane": f"port {told.bulk_port}" if told.bulk_port else "none",
        "shared": f"{bytes_text(told.shared_bytes)} of {bytes_text(told.shared_budget_bytes)} with clients beside it",
        "operations": f"{len(told.operations)} (--operations lists them)",
    }


def _counts(numbers: Mapping[str, int]) -> list[str]:
    return [f"{count:,} {name}" for name, count in sorted(numbers.items())]


def _traffic(nbytes: Mapping[str, int]) -> str:
    """Tell how many bytes travelled, by their ways."""
    return ", ".join(f"{bytes_text(count)} {way}" for way, count in sorted(nbytes.items()) if count) or "nothing"


def _workers(told: ServerInfo) -> str:
    return f"{told.workers}, {told.busy_workers} busy{endings_text(told)}"


def endings_text(told: ServerInfo) -> str:
    """Tell how those workers ended that were there before, behind a semicolon; empty where there were none."""
    endings = _counts(told.worker_endings)
    if told.recycled_workers:
        endings.append(f"{told.recycled_workers} recycled")
    ended = f"; replaced: {', '.join(endings)}" if endings else ""
    fenced = f"; {told.fenced_workers} cannot be killed" if told.fenced_workers else ""
    return f"{ended}{fenced}"
