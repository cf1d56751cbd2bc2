"""What jobs hold of the server's own memory while they wait: their plans count, not their messages alone."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from boards import Case, Stage
from plans import floats, graph_of, operation

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import BusyError
from arraymill_proto.graph import ArrayType, Graph, Resident
from arraymill_proto.validate import infer_graph
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.workspace import JobLayout
from arraymill_server.quantities import MIB
from arraymill_server.rpc import calls as calls_module
from arraymill_server.rpc.calls import NODE_BYTES, job_bytes

NODES = 200
"""Below what is planned on a thread."""


def reductions(count: int = NODES) -> Graph:
    return graph_of(floats(100), *(operation("sum", 0) for _ in range(count)), outputs=tuple(range(1, count + 1)))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(calls_module, "SUBMITTED_BYTES", 2 * MIB)
    stage = Stage(arena_bytes=1 << 22)
    yield stage
    stage.close()


def test_a_client_whose_plans_wait_is_refused_with_numbers(stage: Stage) -> None:
    """Each message has some kilobytes, and each plan hundreds."""
    assert graph_to_pb(reductions()).ByteSize() < NODES * 32
    case = Case(reductions())
    jobs = [stage.begin(stage.bench.submit(case, "greedy")) for _ in range(3)]
    stage.settle()
    with pytest.raises(BusyError, match=r"for the message and the plan of a job.* of them this client's") as caught:
        jobs[2].result()
    assert int(caught.value.details["client_bytes"]) >= 2 * NODES * NODE_BYTES
    other = stage.begin(stage.bench.submit(Case(reductions(10)), "other"))
    stage.settle()
    assert other.result().id


def scans(count: int = NODES) -> Graph:
    return graph_of(floats(100), *(operation("cumsum", 0) for _ in range(count)), outputs=tuple(range(1, count + 1)))


def roots(count: int = NODES) -> Graph:
    """One of the other, all kept."""
    return graph_of(
        floats(100), *(operation("sqrt", each) for each in range(count)), outputs=tuple(range(1, count + 1))
    )


def chain(count: int = NODES) -> Graph:
    return graph_of(floats(100), *(operation("sqrt", each) for each in range(count)))


@pytest.mark.parametrize("make", [reductions, scans, roots, chain])
def test_what_a_plan_is_reckoned_at_is_no_less_than_what_it_takes(make: Callable[[], Graph]) -> None:
    plan_of(make())  # what is made once and for all
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        held = plan_of(make())
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held
    assert taken <= job_bytes(0, NODES + 1)


def plan_of(graph: Graph) -> tuple[object, ...]:
    """All that a waiting job has, beside its message."""
    plan = plan_job(
        graph,
        infer_graph(graph, dict[Resident, ArrayType]().__getitem__),
        {},
        PlanLimits(hold_bytes=0, block_elements=None),
        keep=True,
    )
    return graph, plan, JobLayout(plan, 1), JobLayout(plan, 6)
