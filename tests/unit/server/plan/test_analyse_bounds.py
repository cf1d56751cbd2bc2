"""A graph that is legal but made to be slow must not stop the server: work grows with nodes, and pairs are bounded."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from call_counts import calls_of

from arraymill_proto.errors import GraphError
from arraymill_proto.graph import ArrayType, Graph, Input, Node, Operation, Resident
from arraymill_proto.validate import infer_graph
from arraymill_server.config import JOB_ROOM_BYTES
from arraymill_server.plan.analyse import MAX_ROOTS, MAX_SCANS
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.workspace import JobLayout

X = Input((100, 100), np.dtype(np.float64))
LIMITS = PlanLimits(hold_bytes=1 << 20)


def _no_residents(node: Resident) -> ArrayType:
    raise AssertionError(node)


def _plan(graph: Graph) -> None:
    plan_job(graph, infer_graph(graph, _no_residents), {}, LIMITS)


def _chain(name: str, length: int) -> Graph:
    return Graph((X, *(Operation(name, (i,)) for i in range(length))), tuple(range(1, length + 1)))


def test_planning_grows_with_the_number_of_nodes() -> None:
    small, large = (calls_of(partial(_plan, _chain("sqrt", n))) for n in (100, 800))
    assert large < 12 * small


def test_too_many_outputs() -> None:
    with pytest.raises(GraphError, match=rf"{MAX_ROOTS + 1:,} reductions and outputs"):
        _plan(_chain("sqrt", MAX_ROOTS + 1))


def test_a_chain_of_passes_that_evaluates_too_much() -> None:
    nodes: list[Node] = [X]
    for _ in range(400):
        last = len(nodes) - 1
        nodes += [Operation("mean", (last,)), Operation("subtract", (last, last + 1))]
    with pytest.raises(GraphError, match="keep intermediate values on the server"):
        _plan(Graph(tuple(nodes), (len(nodes) - 1,)))


@pytest.mark.filterwarnings("error")
def test_reductions_of_nothing_warn_of_nothing() -> None:
    empty = Input((0, 3), np.dtype(np.float64))
    _plan(Graph((empty, Operation("mean", (0,)), Operation("std", (0,), {"axis": 0})), (1, 2)))


@pytest.mark.parametrize("name", ["sum", "mean", "var", "argmax"])
@pytest.mark.parametrize("shape", [(3, 10**9), (10**6, 10**6), (10**5, 10**4)])
def test_partials_that_are_wider_than_their_input_fit_the_smallest_arena(name: str, shape: tuple[int, int]) -> None:
    graph = Graph((Input(shape, np.dtype(np.int8)), Operation(name, (0,), {"axis": 0})), (1,))
    plan = plan_job(graph, infer_graph(graph, _no_residents), {}, LIMITS)
    assert JobLayout(plan, 1).nbytes <= JOB_ROOM_BYTES


def test_too_many_scans() -> None:
    scans = [Operation("cumsum", (i,), {"axis": 0}) for i in range(MAX_SCANS + 1)]
    with pytest.raises(GraphError, match=f"{MAX_SCANS + 1} scans"):
        _plan(Graph((X, *scans), (MAX_SCANS + 1,)))
