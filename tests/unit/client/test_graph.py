"""From expressions to graphs: what is shared, what is refused, and how deep it may go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import arrays
from unit.client.evaluate import evaluate, value_of

from arraymill import Array, Handle, _graph, asarray
from arraymill._expression import expression_of
from arraymill._graph import Computation, build
from arraymill._inline import request_of
from arraymill._layout import in_order
from arraymill_proto.catalogue import operand_type
from arraymill_proto.codec import graph_from_pb
from arraymill_proto.errors import ArraymillError, GraphError, ParameterError
from arraymill_proto.graph import ArrayType, Constant, Input, NodeRef, Operation, Resident, Slice
from arraymill_proto.limits import MAX_NODES
from arraymill_proto.validate import infer_graph

DEPTH = 4000


def job_of(*arrays: Array) -> Computation:
    return build([expression_of(array) for array in arrays])


def test_operands_come_before_what_reads_them() -> None:
    x = np.arange(12.0).reshape(3, 4)
    mask = np.ones((3, 4), bool)
    job = job_of((asarray(x) * 2 + 1).mean(axis=0, where=mask))
    assert job.graph.nodes == (
        Input((3, 4), np.dtype(float)),
        Constant(2),
        Operation("multiply", (0, 1)),
        Constant(1),
        Operation("add", (2, 3)),
        Input((3, 4), np.dtype(bool)),
        Operation("mean", (4,), {"axis": 0, "keepdims": False, "where": NodeRef(5)}),
    )
    assert job.graph.outputs == (6,)
    assert np.shares_memory(job.inputs[0], x)
    assert job.results == (ArrayType((4,), np.dtype(float)),)
    assert (job.input_bytes, job.result_bytes) == (x.nbytes + mask.nbytes, 32)


def test_the_same_memory_is_one_input() -> None:
    x = np.arange(12.0).reshape(3, 4)
    assert len(job_of(asarray(x) * x + x[:] - asarray(x)[...]).inputs) == 1


OTHERS: dict[str, Callable[[NDArray[np.float64]], NDArray[Any]]] = {
    "backwards": lambda x: x[::-1],
    "transposed": lambda x: x.T,
    "of another dtype": lambda x: x.view(np.int64),
    "of the other byte order": lambda x: x.view(x.dtype.newbyteorder()),
    "fewer": lambda x: x[:3],
    "elsewhere": lambda x: x.copy(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_elements_are_another_input(name: str) -> None:
    x = np.arange(16.0).reshape(4, 4)
    assert len(job_of(asarray(x).sum(), asarray(OTHERS[name](x)).sum()).inputs) == 2


def test_constants_are_shared_by_what_they_are() -> None:
    x = asarray(np.zeros(3))
    graph = job_of(x + 1, x + 1, x + 1.0, x + True, x + np.float32(1), x + np.int8(1), x * 0.0, x * -0.0).graph
    constants = [node.value for node in graph.nodes if isinstance(node, Constant)]
    assert [(type(value).__name__, repr(value)) for value in constants] == [
        ("int", "1"),
        ("float", "1.0"),
        ("bool", "True"),
        ("float32", "np.float32(1.0)"),
        ("int8", "np.int8(1)"),
        ("float", "0.0"),
        ("float", "-0.0"),
    ]


def test_every_nan_is_the_same_constant_and_every_payload_another() -> None:
    x = asarray(np.zeros(3))
    quiet, other = np.array([0x7FF8000000000000, 0x7FF8000000000001]).view(float)
    graph = job_of(x + float("nan"), x + float("nan"), x + quiet, x + other, x + quiet).graph
    assert sum(isinstance(node, Constant) for node in graph.nodes) == 3


def test_slices_of_a_handle_are_shared_by_what_they_take() -> None:
    handle = Handle("kept", ArrayType((4, 5), np.dtype(float)))
    graph = job_of(handle[1:3], handle[1:3, :], handle[...], handle).graph
    assert graph.nodes == (Resident("kept", (Slice(1, 1, 2),)), Resident("kept"))
    assert graph.outputs == (0, 0, 1, 1)


def test_a_leaf_may_be_an_output_and_an_output_may_be_named_twice() -> None:
    x = np.arange(3.0)
    lazy = asarray(x)
    job = job_of(lazy, lazy, lazy + 1)
    assert job.graph.outputs == (0, 0, 2)
    assert [result.tolist() for result in value_of(lazy, lazy, lazy + 1)] == [[0, 1, 2], [0, 1, 2], [1, 2, 3]]


@given(arrays(), st.booleans())
def test_inlined_elements_lie_in_the_announced_order(array: Any, twice: bool) -> None:
    job = job_of(asarray(array), *([asarray(np.arange(3))] if twice else []))
    graph = graph_from_pb(request_of(job).graph)
    node = graph.nodes[0]
    if not array.ndim:  # a 0-d array is read at once
        return
    assert isinstance(node, Input)
    assert node.dtype == array.dtype
    assert node.inline is not None
    elements = np.frombuffer(node.inline, node.dtype)
    expected = in_order(array, node.order)
    assert elements.tobytes() == expected.tobytes()
    known = infer_graph(graph, lambda _: pytest.fail("there is no resident array"))
    assert [operand_type(known[output]) for output in job.graph.outputs] == list(job.results)


@given(arrays(), st.sampled_from([{}, {"axis": None}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"dtype": "f8"}]))
def test_graphs_that_many_jobs_have_are_those_that_are_built(array: Any, params: dict[str, Any]) -> None:
    try:
        lazy = asarray(array).sum(**params)
    except ArraymillError:
        return
    common = job_of(lazy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_graph, "_simple", Mock(return_value=None))
        built = job_of(lazy)
    assert (common.graph, common.results) == (built.graph, built.results)
    assert [id(one) for one in common.inputs] == [id(one) for one in built.inputs]
    assert request_of(common) == request_of(built)
    assert request_of(common) == request_of(common)
    if array.ndim and array.flags.c_contiguous:
        assert common.skeleton is job_of(asarray(array.copy()).sum(**params)).skeleton


def test_parameters_that_are_equal_and_not_the_same_make_other_graphs() -> None:
    x = np.arange(6.0).reshape(2, 3)
    sums = [job_of(asarray(x).sum(axis)).graph.nodes[1] for axis in (0, 1, 0)]
    assert [node.params["axis"] for node in sums if isinstance(node, Operation)] == [0, 1, 0]
    assert asarray(x).sum(1, keepdims=True).shape == (2, 1)
    with pytest.raises(ParameterError, match="keepdims must be True or False, not 1"):
        asarray(x).sum(1, keepdims=1)  # type: ignore[arg-type]


def deep(depth: int = DEPTH) -> Array:
    array = asarray(np.arange(3.0))
    for number in range(depth):
        array = array + 1 if number % 2 else 1 + array
    return array


def test_a_deep_expression_is_built_printed_computed_and_dropped() -> None:
    array = deep()
    assert repr(array) == "<Array (3,) float64 add | 4000 operations on 1 array>"
    job = job_of(array)
    assert len(job.graph.nodes) == DEPTH + 2
    (value,) = evaluate(job.graph, job.inputs, {})
    assert value.tolist() == [DEPTH, DEPTH + 1, DEPTH + 2]


def test_a_very_deep_expression_is_dropped_without_recursion() -> None:
    array = deep(100_000)
    watch = weakref.ref(array)
    del array
    gc.collect()
    assert watch() is None


def test_a_wide_expression_shares_what_it_reads_again_and_again() -> None:
    array = asarray(np.ones(2))
    for _ in range(1000):
        array = array + array  # 2**1000 paths, 1,000 nodes
    assert len(job_of(array).graph.nodes) == 1001
    assert repr(array) == "<Array (2,) float64 add | 1000 operations on 1 array>"


def test_the_largest_graph_is_accepted_and_the_next_one_refused() -> None:
    assert len(job_of(deep(MAX_NODES - 2)).graph.nodes) == MAX_NODES
    with pytest.raises(GraphError, match=f"the expression has {MAX_NODES + 1} nodes, a job at most {MAX_NODES}: keep"):
        job_of(deep(MAX_NODES - 1))
