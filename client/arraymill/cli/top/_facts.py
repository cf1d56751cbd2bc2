"""A view as rows: labels, shares and words, and how important each is. What draws them knows nothing of servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from arraymill import JobStatus, ServerInfo
from arraymill._job import progress_text
from arraymill._quantities import bytes_text, counted
from arraymill.cli._jobs import key_text, summary
from arraymill.cli._server import endings_text
from arraymill.cli._show import seconds_text
from arraymill.cli.top._meter import Flow, View

JOB_HEADER: Final = ("id", "age", "prio", "done", "state", "key")

ADDRESS_CHARS: Final = 32
"""Of a server's address in a title: of longer ones, which are paths, the end."""

UNKNOWN: Final = "-"
"""Of a rate: a server process has answered once, or has not answered now."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that a server tells."""

    label: str
    text: str
    shares: tuple[float, ...] = ()
    """Parts of a whole that a bar shows, one after the other; empty: no bar."""
    history: tuple[float, ...] = ()
    """Instead of a bar: the oldest first."""
    rank: int = 0
    """Where there is too little room, those with the highest are left out first."""


def title_of(view: View) -> str:
    """Return whom the view is of."""
    server = view.server if len(view.server) <= ADDRESS_CHARS else f"...{view.server[3 - ADDRESS_CHARS :]}"
    if view.info is None:
        return server
    seen = f", {counted(view.replaced, 'restart')} seen" if view.replaced else ""
    return f"{server}  arraymill {view.info.version}  up {seconds_text(view.info.uptime_seconds)}{seen}"


def trouble_of(view: View) -> str:
    """Return why nothing new comes; empty: it does."""
    if not view.trouble:
        return ""
    age = f"figures of {seconds_text(view.silent_seconds)} ago: " if view.info else ""
    return f"{age}{view.trouble}"


def rows_of(view: View) -> list[Row]:
    """Return what the server tells of itself, in the order in which it is read."""
    info = view.info
    if info is None:
        return []
    return [
        _workers(info),
        *_arena(info),
        _kept(info),
        _shared(info),
        _calls(info),
        Row("clients", counted(info.connections, "connection"), rank=8),
        *([_lag(info)] if _tells_load(info) else []),
        *_flows(view, info),
    ]


def job_cells(status: JobStatus) -> tuple[str, ...]:
    """Return a job as the cells under JOB_HEADER."""
    done = f"{100 * status.blocks_done // status.blocks} %" if status.blocks else UNKNOWN
    age = seconds_text(status.age_seconds)
    return status.id, age, str(status.priority), done, progress_text(status), key_text(status)


def plain_line(view: View) -> str:
    """Return one line that tells most: for logs and pipes."""
    if view.trouble or view.info is None:
        return f"{view.server}  {trouble_of(view)}"
    info = view.info
    jobs, received, sent = (view.flows.get(name) for name in ("jobs", "received", "sent"))
    parts = (
        f"up {seconds_text(info.uptime_seconds)}",
        f"workers {info.busy_workers}/{info.workers}",
        f"arena {_percent(info.arena_bytes - info.arena_free_bytes, info.arena_bytes)}",
        f"jobs {info.running_jobs} running {info.waiting_jobs} waiting",
        f"ended {_rates_text(jobs)}",
        f"received {UNKNOWN if received is None else f'{bytes_text(received.total)}/s'}",
        f"sent {UNKNOWN if sent is None else f'{bytes_text(sent.total)}/s'}",
        f"lag {_lag_text(info.loop_lag_seconds)}",
    )
    return "  ".join((view.server, *parts))


def document(view: View) -> dict[str, Any]:
    """Return a view as JSON can say it."""
    told: dict[str, Any] = asdict(view.info) if view.info else {}
    told.pop("operations", None)
    return {
        "server": view.server,
        "trouble": view.trouble,
        "silent_seconds": view.silent_seconds,
        "replaced": view.replaced,
        "info": told or None,
        "per_second": {name: dict(flow.by_kind) for name, flow in view.flows.items()} or None,
        "jobs": [summary(status) for status in view.jobs],
        "has_more_jobs": view.has_more_jobs,
    }


# ---------------------------------------------------------------------------------------------------- rows


def _tells_load(info: ServerInfo) -> bool:
    """Tell whether it is of a version that says what is busy, and counts: a free arena has a largest free piece."""
    return bool(info.arena_largest_free_bytes or not info.arena_free_bytes)


def _workers(info: ServerInfo) -> Row:
    if not _tells_load(info):
        return Row("workers", f"{info.workers}{endings_text(info)}")
    text = f"{info.busy_workers} of {info.workers} busy{endings_text(info)}"
    return Row("workers", text, (_share(info.busy_workers, info.workers),))


def _arena(info: ServerInfo) -> list[Row]:
    used = info.arena_bytes - info.arena_free_bytes
    text = f"{bytes_text(used)} of {bytes_text(info.arena_bytes)} used"
    if not _tells_load(info):
        return [Row("arena", text, (_share(used, info.arena_bytes),))]
    jobs, largest = min(info.arena_reserved_bytes, used), info.arena_largest_free_bytes
    shares = _share(jobs, info.arena_bytes), _share(used - jobs, info.arena_bytes)
    by_jobs = f", {bytes_text(jobs)} by jobs" if used else ""
    free = f"{bytes_text(info.arena_free_bytes)}, {bytes_text(largest)} in one piece"
    return [
        Row("arena", text + by_jobs, shares),
        Row("free", free, (_share(largest, info.arena_free_bytes),), rank=4),
    ]


def _kept(info: ServerInfo) -> Row:
    text = f"{bytes_text(info.resident_bytes)} of {bytes_text(info.resident_budget_bytes)} kept for clients"
    return Row("kept", text, (_share(info.resident_bytes, info.resident_budget_bytes),), rank=5)


def _shared(info: ServerInfo) -> Row:
    part, whole = info.shared_bytes, info.shared_budget_bytes
    if not whole:
        return Row("shared", "no memory is shared with clients", rank=6)
    return Row("shared", f"{bytes_text(part)} of {bytes_text(whole)} with clients", (_share(part, whole),), rank=6)


def _calls(info: ServerInfo) -> Row:
    text = (
        f"{info.job_calls:,} of {info.max_job_calls:,} run jobs, {info.waiting_calls:,} wait, {info.feeding_calls:,} "
        f"feed, {info.refused_calls:,} refused"
    )
    return Row("calls", text, (_share(info.job_calls, info.max_job_calls),), rank=3)


def _lag(info: ServerInfo) -> Row:
    return Row("lag", f"event loop late by {_lag_text(info.loop_lag_seconds)} at most lately", rank=7)


def _flows(view: View, info: ServerInfo) -> list[Row]:
    """Return how much there is in a second; a server of an earlier version does not tell."""
    now = f"{info.running_jobs:,} running, {info.waiting_jobs:,} waiting"
    if not _tells_load(info):
        return [Row("jobs", now)]
    found = [_flow("jobs", view, _rates_text, 0, f"{now}; ")]
    found += [_flow(name, view, _byte_rates_text, 1) for name in ("received", "sent")]
    refused = view.flows.get("refusals")
    return [*found, _flow("refusals", view, _rates_text, 2)] if refused and refused.total else found


def _flow(name: str, view: View, words: Callable[[Flow | None], str], rank: int, begin: str = "") -> Row:
    flow = view.flows.get(name)
    return Row(name, begin + words(flow), history=flow.history if flow else (), rank=rank)


# ---------------------------------------------------------------------------------------------------- words


def _rates_text(flow: Flow | None) -> str:
    if flow is None:
        return UNKNOWN
    told = [f"{_count_text(rate)}/s {kind}" for kind, rate in _most_first(flow)]
    return ", ".join(told) or "0/s"


def _byte_rates_text(flow: Flow | None) -> str:
    """Tell how many bytes there are in a second, and by which ways where there are several."""
    if flow is None:
        return UNKNOWN
    ways = [f"{bytes_text(rate)}/s {way}" for way, rate in _most_first(flow)]
    return f"{bytes_text(flow.total)}/s: {', '.join(ways)}" if len(ways) > 1 else "".join(ways) or "0 B/s"


def _most_first(flow: Flow) -> list[tuple[str, float]]:
    return sorted(((kind, rate) for kind, rate in flow.by_kind.items() if rate), key=lambda item: -item[1])


def _count_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 99.5 else f"{rate:.3g}"


def _lag_text(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 0.0995 else seconds_text(seconds)


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0) if whole else 0.0


def _percent(part: float, whole: float) -> str:
    return f"{100 * _share(part, whole):.0f} %"
