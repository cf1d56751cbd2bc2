"""What doctor finds about the server: is it there, do the versions fit, is it well, and do the clocks agree."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import numpy as np

from arraymill import LinkFigures, ServerInfo
from arraymill._address import VARIABLE, is_same_host
from arraymill._advise_model import duration_text
from arraymill._quantities import bytes_text
from arraymill.cli._doctor_findings import Finding, note, ok, problem
from arraymill.cli._doctor_machine import Machine
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, DeadlineError, IncompatibleServerError
from arraymill_proto.limits import PROTOCOL

DRIFT: Final = 0.05
"""Part of the time by which two clocks may differ, beside what the answers took."""

FULL: Final = 0.9
"""Part of the budget of kept arrays from which on it is nearly spent."""

LATE_SECONDS: Final = 0.25
"""By which no server's event loop is late that can do what it is asked; measuring here makes it some hundredths."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """The two clocks at one moment."""

    own_seconds: float
    """On this process' monotonic clock, in the middle of a question."""
    slack_seconds: float
    """How long the question took: so much may the moments differ."""
    server_seconds: float
    """Since the server's start, as it says."""


def check_address(address: str, given: str | None) -> Finding:
    """Tell where the server is looked for, and why there."""
    source = "--server" if given else f"${VARIABLE}" if os.environ.get(VARIABLE) else "the default"
    return ok("address", f"{address} (from {source})")


def unreachable(address: str, error: ArraymillError) -> Finding:
    """Tell what the server, or the way to it, had to say instead of an answer."""
    fixes: dict[type[ArraymillError], str] = {
        IncompatibleServerError: "pip install --upgrade arraymill, on the older side",
        ConnectionFailedError: f"start it there: arraymill serve --listen {address}",
        DeadlineError: "give it time: --timeout 300; or ask arraymill info what it does",
    }
    fix = next((fix for kind, fix in fixes.items() if isinstance(error, kind)), "see the server's log")
    return problem("server", " ".join(str(error).split()), fix)


def check_server(info: ServerInfo, status: str, machine: Machine, address: str) -> list[Finding]:
    """Look at what the server says of itself.

    Args:
        info: What it says.
        status: What its health service says.
        machine: This one; the server's too, where its address says so.
        address: Of the server.
    """
    found = [_check_health(info, status), _check_versions(info)]
    found += [_check_workers(info), _check_memory(info), _check_lag(info)]
    if is_same_host(address):
        found.append(_check_share(info, machine))
    return found


def check_lane(info: ServerInfo, link: LinkFigures, address: str) -> Finding:
    """Look at how large arrays travel."""
    if any(lane.name == "shared" for lane in link.lanes):
        budget = f"{bytes_text(info.shared_bytes)} of {bytes_text(info.shared_budget_bytes)}"
        text = f"client and server share {budget}; arrays of mill.empty lie there, others are copied once"
        return ok("shared lane", text)
    if address.startswith("unix:"):
        return ok("bulk lane", "not used on a Unix socket: arrays go through gRPC")
    if not info.bulk_port:
        return note("bulk lane", "the server has none: large arrays go through gRPC", "serve without --bulk-port off")
    if all(lane.name == "frames" for lane in link.lanes) and len(link.lanes) > 1:
        text = f"port {info.bulk_port} cannot be reached: large arrays go through gRPC, at half the speed"
        return note("bulk lane", text, "give it a fixed port, --bulk-port 50052, and let it through the firewall")
    return ok("bulk lane", f"port {info.bulk_port}, for large arrays")


def check_clocks(first: Meeting, last: Meeting) -> Finding:
    """Compare how fast the two clocks run: deadlines and times to live are counted on both sides."""
    own, server = last.own_seconds - first.own_seconds, last.server_seconds - first.server_seconds
    if abs(own - server) > DRIFT * own + first.slack_seconds + last.slack_seconds:
        text = f"the server's clock ran {duration_text(max(server, 0))} while this one ran {duration_text(own)}"
        return problem("clocks", text, "look for a machine that is stopped now and then, or a bad clock source")
    return ok("clocks", f"both ran for {duration_text(own)}")


def _check_health(info: ServerInfo, status: str) -> Finding:
    if status != "SERVING":
        return problem("server", f"it answers, but its health is {status}", "wait for its end or start, or see its log")
    jobs = f"{info.running_jobs} jobs running, {info.waiting_jobs} waiting"
    if info.waiting_jobs:
        return note("server", f"serving; {jobs}: the figures below are those of a busy server", "ask again later")
    return ok("server", f"serving; {jobs}")


def _check_lag(info: ServerInfo) -> Finding:
    late = f"its event loop was late by {duration_text(info.loop_lag_seconds)} at most lately"
    if info.loop_lag_seconds > LATE_SECONDS:
        return note("event loop", f"{late}: everybody waits", "fewer calls at once, a core more, or another server")
    return ok("event loop", late)


def _check_versions(info: ServerInfo) -> Finding:
    own = version("arraymill")
    text = f"arraymill {own} here, {info.version} there; NumPy {np.__version__} here, {info.numpy_version} there"
    if own != info.version:
        return note("versions", text, "pip install --upgrade arraymill, on the older side")
    if np.__version__.split(".")[:2] != info.numpy_version.split(".")[:2]:
        return note("versions", f"{text}: their rules of dtypes may differ", "install the same NumPy on both sides")
    return ok("versions", f"{text}; protocol {PROTOCOL} here, {info.protocol} there")


def _check_workers(info: ServerInfo) -> Finding:
    ends = ", ".join(f"{count} {reason}" for reason, count in sorted(info.worker_endings.items()))
    if info.fenced_workers:
        text = f"{info.fenced_workers} of the server's workers cannot be killed, and hold memory"
        return problem("workers", text, "start the server again when its jobs have ended")
    if ends:
        return note("workers", f"{info.workers}; replaced since the start: {ends}", "see the server's log for the jobs")
    return ok("workers", f"{info.workers}, none was replaced")


def _check_memory(info: ServerInfo) -> Finding:
    kept = f"{bytes_text(info.resident_bytes)} of {bytes_text(info.resident_budget_bytes)} kept"
    text = f"arena {bytes_text(info.arena_bytes)}, {bytes_text(info.arena_free_bytes)} free; {kept}"
    if info.resident_bytes > FULL * info.resident_budget_bytes:
        return note("memory", text, "arraymill list shows the arrays; arraymill delete, or serve --resident-budget")
    return ok("memory", text)


def _check_share(info: ServerInfo, machine: Machine) -> Finding:
    """Compare a server on this machine with the limits, as far as this process has the same."""
    if info.workers > machine.usable_cpus:
        text = f"{info.workers} workers and this process share {machine.usable_cpus:g} CPUs"
        return note("sharing", text, f"serve --workers {max(int(machine.usable_cpus), 1)}, or compute elsewhere")
    if info.arena_bytes > machine.usable_bytes // 2:
        text = f"the arena takes {bytes_text(info.arena_bytes)} of {bytes_text(machine.usable_bytes)} of memory"
        return note("sharing", text, f"serve --arena {bytes_text(machine.usable_bytes // 4).replace(' ', '')}")
    return ok("sharing", "the server is on this machine: client and workers share its CPUs and memory")
