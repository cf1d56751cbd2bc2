"""Which roots share a pass."""

from __future__ import annotations

from plans import floats, graph_of, operation

from arraymill_proto.graph import Constant, Graph
from arraymill_proto.validate import infer_graph
from arraymill_server.plan.analyse import analyse
from arraymill_server.plan.grouping import group_roots


def groups(graph: Graph) -> list[list[int]]:
    analysis = analyse(graph, infer_graph(graph, lambda _: NotImplemented))
    return [[root.node for root in group] for group in group_roots(analysis)]


def test_roots_that_read_one_array_share_a_pass() -> None:
    sums = [operation("sum", 0), operation("max", 0), operation("sum", 1), operation("sqrt", 1)]
    assert groups(graph_of(floats(4), floats(4), *sums, outputs=(2, 3, 4, 5))) == [[2, 3], [4, 5]]


def test_a_root_may_connect_others() -> None:
    nodes = (operation("sum", 0), operation("sum", 1), operation("add", 0, 1))
    assert groups(graph_of(floats(4), floats(4), *nodes, outputs=(2, 3, 4))) == [[2, 3, 4]]


def test_roots_of_other_shapes_and_levels_have_passes_of_their_own() -> None:
    nodes = (operation("sum", 0), operation("add", 0, 1), operation("subtract", 0, 2), operation("sqrt", 0))
    assert groups(graph_of(floats(4), floats(3, 4), *nodes, outputs=(2, 3, 4, 5))) == [[2, 5], [3], [4]]


def test_constants_of_one_shape_share_a_pass() -> None:
    nodes = (Constant(1), Constant(2.0), operation("add", 0, 1), floats(), operation("sqrt", 3))
    assert groups(graph_of(*nodes, outputs=(0, 1, 2, 4))) == [[0, 1, 2], [4]]
