"""The life of a job: blocks begin in order, one is enough to make progress, nothing is asked for twice."""

from __future__ import annotations

from functools import partial
from random import Random

import numpy as np
import pytest
from call_counts import calls_of
from hypothesis import given
from hypothesis import strategies as st
from plans import floats, graph_of, operation, plan_of
from profiles import examples
from ways import Way, ways

from arraymill_proto.graph import Graph, Node
from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Send, Write
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import JobPlan
from arraymill_server.plan.program import BlockTask
from arraymill_server.plan.workspace import JobLayout
from arraymill_server.testing.simulate import Simulation

X = np.arange(24.0).reshape(6, 4)

SCORES = graph_of(
    floats(6, 4),
    operation("mean", 0, axis=0, keepdims=True),
    operation("std", 0),
    operation("subtract", 0, 1),
    operation("divide", 3, 2),
)

GRAPHS = [
    SCORES,
    graph_of(floats(6, 4), operation("cumsum", 0, axis=0), operation("cumsum", 1, axis=1), operation("cumsum", 2)),
    graph_of(floats(6, 4), operation("cumsum", 0, axis=1), operation("max", 1, axis=0), operation("add", 0, 2)),
    graph_of(floats(6, 4), operation("sum", 0, axis=1), operation("argmax", 0), operation("cumprod", 0, axis=0)),
]


def machine_of(plan: JobPlan, depth: int = 1) -> JobMachine:
    return JobMachine(plan, JobLayout(plan, depth), base=4096)


def end_oldest(machine: JobMachine) -> list[Dispatch | Fetch | Send]:
    """Run to the end in order; return all instructions that ended later."""
    pending, seen = list[Dispatch | Fetch | Send](), list[Dispatch | Fetch | Send]()
    fresh = machine.start()
    while True:
        pending += [instruction for instruction in fresh if not isinstance(instruction, Write | Compute)]
        if not pending:
            return seen
        seen.append(pending.pop(0))
        fresh = machine.done(seen[-1].token)


@pytest.mark.parametrize("graph", GRAPHS)
@examples(30)
@given(way=ways())
def test_one_block_in_flight_is_enough(graph: Graph, way: Way) -> None:
    alone = Way(way.seed, 1, way.block_elements, way.piece_bytes, way.hold_bytes, way.constants)
    for ours, reference in zip(alone.run(graph, [X]), Way().run(graph, [X]), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-12)


def test_blocks_begin_in_order_as_slots_become_free() -> None:
    plan = plan_of(graph_of(floats(6, 4), operation("sqrt", 0)), block_elements=4)
    seen = end_oldest(machine_of(plan, depth=2))
    assert [fetch.wanted.offset for fetch in seen if isinstance(fetch, Fetch)] == [0, 32, 64, 96, 128, 160]
    starts = [one.task.start for one in seen if isinstance(one, Dispatch) and isinstance(one.task, BlockTask)]
    assert starts == [(row, 0) for row in range(6)]
    assert [type(one) for one in seen[:4]] == [Fetch, Fetch, Dispatch, Dispatch]


@pytest.mark.parametrize(("hold_bytes", "times"), [(0, 2), (1 << 20, 1)])
def test_what_is_held_is_asked_for_once(hold_bytes: int, times: int) -> None:
    plan = plan_of(SCORES, block_elements=5, hold_bytes=hold_bytes)
    for seed in range(5):
        simulation = Simulation(plan, [X], random=Random(seed), depth=3)
        simulation.run()
        assert simulation.fetched == [times * X.nbytes]


def test_the_next_pass_takes_no_memory_from_which_results_are_still_sent() -> None:
    """The slots of the second pass, of many outputs, lie where the first one has the sums that it sends."""
    nodes: list[Node] = [floats(9, 6), operation("mean", 0), operation("sum", 0, axis=1)]
    nodes += [operation("subtract", 0, 1)] * 12
    graph = Graph(tuple(nodes), tuple(range(2, 15)))
    constants = {"WHOLE_RESULT_BYTES": 0, "INLINE_BYTES": -1}
    x = np.arange(54.0).reshape(9, 6)
    for seed in range(8):
        results = Way(seed, 5, 3, hold_bytes=0, constants=constants).run(graph, [x])
        np.testing.assert_array_equal(results[0], x.sum(1))
        np.testing.assert_array_equal(results[12], x - x.mean())


def test_progress_is_counted_over_all_passes() -> None:
    plan = plan_of(SCORES, block_elements=6)
    machine = machine_of(plan)
    assert repr(machine) == "<JobMachine pass 0 of 2, 0 blocks done>"
    assert not machine.is_finished
    end_oldest(machine)
    assert machine.blocks_done == plan.blocks == 12
    assert machine.is_finished


def test_a_job_of_nothing_ends_at_once() -> None:
    plan = plan_of(graph_of(floats(0, 3), operation("sqrt", 0), operation("cumsum", 1), outputs=(1, 2)))
    machine = machine_of(plan)
    programs = [stage.encoded for step in plan.passes for stage in step.stages]
    assert [write.data for write in machine.start() if isinstance(write, Write)] == programs
    assert machine.is_finished


def test_programs_are_written_before_anything_else() -> None:
    plan = plan_of(SCORES)
    first = machine_of(plan).start()
    stages = [stage for step in plan.passes for stage in step.stages]
    assert [write.data for write in first if isinstance(write, Write)] == [stage.encoded for stage in stages]
    assert isinstance(first[len(stages)], Fetch)


def test_a_result_that_is_kept_is_written_where_it_stays() -> None:
    plan = plan_of(graph_of(floats(6, 4), operation("sqrt", 0)), block_elements=8, keep=True)
    machine = JobMachine(plan, JobLayout(plan, 1), base=4096, keep_addresses={1: 1 << 20})
    seen = end_oldest(machine)
    assert not [one for one in seen if isinstance(one, Send)]
    tasks = [one.task for one in seen if isinstance(one, Dispatch)]
    assert [task.outputs[0][0].offset for task in tasks if isinstance(task, BlockTask)] == [
        (1 << 20) + 64 * block for block in range(3)
    ]


@pytest.mark.parametrize("name", ["sum", "cumsum", "sqrt"])
def test_the_cost_of_a_block_does_not_grow_with_their_number(name: str) -> None:
    few, many = (
        calls_of(partial(end_oldest, machine_of(plan_of(graph_of(floats(n), operation(name, 0)), block_elements=1), 4)))
        for n in (256, 2048)
    )
    assert many < 8.2 * few


@given(st.integers(1, 5), st.integers(0, 99))
def test_the_same_array_in_several_passes_and_shapes(depth: int, seed: int) -> None:
    """A held input that a pass over nothing names is still asked for by the pass that reads it."""
    nothing = graph_of(
        floats(1, 4), floats(0, 4), operation("add", 0, 1), operation("sum", 0), operation("sum", 2), outputs=(2, 3, 4)
    )
    arrays = [X[:1], X[:0]]
    results = Way(seed, depth, 2).run(nothing, arrays)
    assert [float(results[1]), float(results[2])] == [6.0, 0.0]
    assert results[0].shape == (0, 4)
