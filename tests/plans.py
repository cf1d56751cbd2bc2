"""Plans of small graphs."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from arraymill_proto.graph import ArrayType, Graph, Input, Node, Operation, Order, Resident, Shape
from arraymill_proto.validate import infer_graph
from arraymill_server.plan.model import JobPlan, ResidentView
from arraymill_server.plan.planner import PlanLimits, plan_job


def operation(name: str, *args: int, **params: object) -> Operation:
    return Operation(name, args, params)  # type: ignore[arg-type]


def floats(*shape: int, order: Order | None = None) -> Input:
    """An input of float64."""
    return Input(shape, np.dtype(np.float64), order)


def graph_of(*nodes: Node, outputs: tuple[int, ...] | None = None) -> Graph:
    """A graph whose output is its last node, unless told otherwise."""
    return Graph(nodes, (len(nodes) - 1,) if outputs is None else outputs)


def plan_of(
    graph: Graph,
    *,
    block_elements: int | None = None,
    block_bytes: int = 4 << 20,
    hold_bytes: int = 1 << 30,
    residents: Mapping[int, ResidentView] | None = None,
    keep: bool = False,
) -> JobPlan:
    """Plan a graph."""
    views = residents or {}

    def type_of(node: Resident) -> ArrayType:
        view = views[graph.nodes.index(node)]
        return ArrayType(view.shape, view.dtype)

    limits = PlanLimits(hold_bytes, block_bytes, block_elements)
    return plan_job(graph, infer_graph(graph, type_of), views, limits, keep=keep)


def view_of(shape: Shape, order: Order | None = None, offset: int = 0) -> ResidentView:
    """A resident array of float64, its axes in memory in some order."""
    strides = [0] * len(shape)
    step = 8
    for axis in reversed(order or range(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    assert step == 8 * prod(shape)
    return ResidentView(offset, shape, tuple(strides), np.dtype(np.float64))
