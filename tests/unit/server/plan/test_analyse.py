"""What must be computed when: levels, values that are kept whole, and what is not computed at all."""

from __future__ import annotations

import numpy as np
import pytest
from plans import floats, graph_of, operation

from arraymill_proto.graph import ArrayType, Constant, Graph, Input, Node, NodeRef, Resident
from arraymill_proto.validate import infer_graph
from arraymill_server.plan.analyse import Analysis, Root, analyse, is_constant, is_flat


def analysed(graph: Graph) -> Analysis:
    def type_of(node: Resident) -> ArrayType:
        return ArrayType((3, 4), np.dtype(np.float64))

    return analyse(graph, infer_graph(graph, type_of))


def roots(graph: Graph) -> dict[int, Root]:
    return {root.node: root for root in analysed(graph).roots}


def test_a_reduction_adds_a_level_and_is_kept_if_somebody_reads_it() -> None:
    graph = graph_of(
        floats(3, 4), operation("mean", 0), operation("subtract", 0, 1), operation("std", 2), outputs=(2, 3)
    )
    assert analysed(graph).levels == [0, 1, 1, 2]
    found = roots(graph)
    assert sorted(found) == [1, 2, 3]
    assert [found[n].level for n in (1, 2, 3)] == [0, 1, 1]
    assert [found[n].kept for n in (1, 2, 3)] == [True, False, False]
    assert [found[n].reduces for n in (1, 2, 3)] == [True, False, True]
    assert [found[n].outputs for n in (1, 2, 3)] == [(), (0,), (1,)]
    assert found[3].domain == (3, 4)


@pytest.mark.parametrize(
    ("nodes", "kept"),
    [
        ((floats(4), operation("cumsum", 0), operation("sqrt", 1)), False),
        ((floats(4), operation("cumsum", 0), operation("cumsum", 1)), False),
        ((floats(4), operation("cumsum", 0), operation("sum", 1)), False),
        ((floats(4), operation("cumsum", 0), floats(3, 1), operation("add", 1, 2)), True),
        ((floats(4), operation("cumsum", 0), floats(3, 4), operation("sum", 2, where=NodeRef(1))), None),
        ((floats(3, 4), operation("cumsum", 0, axis=0), operation("sqrt", 1)), False),
        ((floats(3, 4), operation("cumsum", 0), operation("sqrt", 1)), True),
    ],
)
def test_scans_are_kept_where_they_do_not_fit_the_blocks(nodes: tuple[Node, ...], kept: bool | None) -> None:
    if kept is None:  # masks are boolean
        mask = (*nodes[:2], operation("greater", 1, 0), nodes[2], operation("sum", 3, where=NodeRef(2)))
        assert roots(graph_of(*mask))[1].kept
        return
    found = roots(graph_of(*nodes))
    assert (1 in found) is kept


def test_a_scan_that_is_read_in_two_shapes_is_kept_once() -> None:
    graph = graph_of(
        floats(4), operation("cumsum", 0), operation("sum", 1), floats(3, 4), operation("add", 1, 3), outputs=(1, 2, 4)
    )
    assert analysed(graph).boundaries == {1}
    found = roots(graph)
    assert found[1].outputs == (0,)
    assert (found[1].level, found[2].level, found[4].level) == (0, 1, 1)


def test_reductions_of_nothing_are_constants() -> None:
    graph = graph_of(Input((0, 3), np.dtype(np.int8)), operation("sum", 0, axis=0), operation("add", 1, 1))
    analysis = analysed(graph)
    assert analysis.folded == {1: 0}
    assert analysis.folded[1].dtype == np.int64
    assert is_constant(analysis, 1)
    assert not is_constant(analysis, 2)
    assert [root.node for root in analysis.roots] == [2]


def test_what_no_output_needs_has_no_root() -> None:
    assert sorted(roots(graph_of(floats(4), operation("sum", 0), operation("sqrt", 0), outputs=(2, 2)))) == [2]


def test_outputs_that_are_leaves_are_stored() -> None:
    graph = graph_of(Constant(2), Resident("x"), floats(4), outputs=(2, 0, 1, 0))
    found = roots(graph)
    assert {node: root.outputs for node, root in found.items()} == {0: (1, 3), 1: (2,), 2: (0,)}
    assert [found[node].domain for node in (0, 1, 2)] == [(), (3, 4), (4,)]


@pytest.mark.parametrize(("shape", "axis", "flat"), [((4,), None, False), ((), None, True), ((3, 4), 1, False)])
def test_scans_that_ravel(shape: tuple[int, ...], axis: int | None, flat: bool) -> None:
    scan = operation("cumsum", 0) if axis is None else operation("cumsum", 0, axis=axis)
    assert is_flat(analysed(graph_of(floats(*shape), scan)), 1) is flat
