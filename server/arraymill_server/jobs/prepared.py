"""What a job is before it has memory: valid and planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from arraymill_proto.errors import Reason, ShapeError, TooLargeError
from arraymill_proto.graph import Graph, Resident
from arraymill_server.engine.base import Fence
from arraymill_server.jobs.pending import PendingGroup
from arraymill_server.jobs.request import Report, Target, nothing
from arraymill_server.jobs.residents import ResidentArray
from arraymill_server.jobs.views import view_of
from arraymill_server.plan.model import JobPlan, ResidentView
from arraymill_server.plan.workspace import JobLayout, deepest


@dataclass(frozen=True, slots=True)
class Layouts:
    """A workspace with the fewest blocks in flight, and one with the most."""

    least: JobLayout
    most: JobLayout

    @classmethod
    def of(cls, plan: JobPlan, slots: int) -> Layouts:
        depth, least = min(slots, deepest(plan)), JobLayout(plan, 1)
        return cls(least, JobLayout(plan, depth) if depth > 1 else least)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What was found out about a graph before its job comes."""

    graph: Graph
    """It lives as long: nothing else can have its identity."""
    keep: bool
    views: Mapping[int, ResidentView]
    plan: JobPlan
    layouts: Layouts


@dataclass(slots=True)
class Prepared:
    """A job that is valid and planned, with what it holds before it has memory."""

    report: Report
    plan: JobPlan
    layouts: Layouts
    pins: list[ResidentArray]
    pending: PendingGroup | None = None
    targets: Mapping[int, int] = field(default_factory=dict[int, int])
    """Where outputs are left that are not sent, by node."""
    at_hand_bytes: int = 0
    """Of inputs that are not asked for."""
    release: Callable[[], None] = nothing
    """Gives back what the request held."""
    fence: Fence | None = None
    """What must fall before anything of it may be given back."""


def residents_of(graph: Graph) -> list[Resident]:
    return [node for node in graph.nodes if isinstance(node, Resident)]


def views_of(graph: Graph, arrays: Mapping[Resident, ResidentArray]) -> dict[int, ResidentView]:
    """Return where the resident arrays of a graph lie, by node."""
    return {
        index: view_of(arrays[node], node.slices)
        for index, node in enumerate(graph.nodes)
        if isinstance(node, Resident)
    }


def targets_of(plan: JobPlan, targets: tuple[Target, ...]) -> dict[int, int]:
    """Return where each output is left, by node; nothing where one lies in another order, or is several outputs.

    Raises:
        ShapeError: One would not fit.
    """
    placed: dict[int, int] = {}
    for number, (result, target) in enumerate(zip(plan.outputs, targets, strict=bool(targets))):
        if result.nbytes > target.room_bytes:
            raise ShapeError(
                f"output {number} has {result.nbytes:,} bytes, there are {target.room_bytes:,} where it is to be left",
                output=number,
            )
        long = [axis for axis in result.order if result.type.shape[axis] != 1]
        if long != sorted(long) or result.node in placed:
            return {}
        placed[result.node] = target.address
    return placed


def check_results(plan: JobPlan, limit: int | None) -> None:
    nbytes = sum(result.nbytes for result in plan.outputs)
    if limit is not None and nbytes > limit:
        raise TooLargeError(
            f"the results have {nbytes:,} bytes, one answer holds {limit:,}; use the streaming call Run",
            reason=Reason.RESULT_TOO_LARGE,
            result_bytes=nbytes,
            limit=limit,
        )
