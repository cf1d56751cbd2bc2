"""Partials meet in one fixed order, whatever order they come in and wherever they are merged."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
from clerk import Clerk
from hypothesis import given
from hypothesis import strategies as st
from plans import floats, graph_of, operation, plan_of

from arraymill_server.plan import absorb, workspace
from arraymill_server.plan.absorb import Absorber
from arraymill_server.plan.workspace import JobLayout


def absorbed(shape: tuple[int, ...], axis: int | None, random: Random, depth: int = 3) -> Clerk:
    """Absorb the blocks of a sum, one element each, at most `depth` at once."""
    params = {} if axis is None else {"axis": axis}
    plan = plan_of(graph_of(floats(*shape), operation("sum", 0, **params)), block_elements=1)
    (step,) = plan.passes
    host = Clerk()
    absorber = Absorber(step, JobLayout(plan, depth).passes[0], 0, host)
    waiting, done = list(range(len(step.domain))), list[int]()
    flying: list[tuple[int, list[int]]] = []
    handed = 0
    while len(done) < len(step.domain):
        while waiting and handed - len(done) + len(flying) < depth:
            flying.append((waiting.pop(0), absorber.take_buffers()))
        if flying and (not host.pending or random.random() < 0.5):
            number, buffers = flying.pop(random.randrange(len(flying)))
            block = step.domain.block(number)
            address = absorber.regions(0, block, buffers[0])[0].offset
            host.memory[address] = ",".join(map(str, block.start))
            handed += 1
            absorber.computed(number, block, buffers, partial(done.append, number))
        else:
            host.end_one(random)
    assert done == sorted(done)
    while host.pending:
        assert absorber.is_sending
        host.end_one(random)
    assert not absorber.is_sending
    return host


@pytest.fixture(params=[16 << 10, -1], ids=["inline", "dispatched"])
def inline_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absorb, "INLINE_BYTES", request.param)


TREES = {
    1: "0",
    2: "(0 1)",
    3: "((0 1) 2)",
    5: "(((0 1) (2 3)) 4)",
    7: "(((0 1) (2 3)) ((4 5) 6))",
    8: "(((0 1) (2 3)) ((4 5) (6 7)))",
}


@pytest.mark.parametrize("count", TREES)
@pytest.mark.usefixtures("inline_bytes")
def test_small_partials_meet_in_a_binary_tree(count: int) -> None:
    for seed in range(20):
        host = absorbed((count,), None, Random(seed), depth=1 + seed % 4)
        assert host.memory[1 << 20] == TREES[count]


@pytest.mark.usefixtures("inline_bytes")
def test_large_partials_meet_in_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "CHAIN_BYTES", 0)
    for seed in range(20):
        host = absorbed((5,), None, Random(seed), depth=1 + seed % 4)
        assert host.memory[1 << 20] == "((((0 1) 2) 3) 4)"


@pytest.mark.usefixtures("inline_bytes")
@pytest.mark.parametrize("buffers", [1, 2])
def test_results_that_are_sent_in_parts(monkeypatch: pytest.MonkeyPatch, buffers: int) -> None:
    """Every cell is sent once, after all of its merges, even when the part before it has not left yet."""
    monkeypatch.setattr("arraymill_server.plan.planner.WHOLE_RESULT_BYTES", 0)
    monkeypatch.setattr(workspace, "FINISH_BUFFERS", buffers)
    for seed in range(40):
        host = absorbed((4, 3), 0, Random(seed), depth=1 + seed % 4)
        assert host.results == {8 * k: f"((0,{k} 1,{k}) (2,{k} 3,{k}))" for k in range(3)}


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 999))
def test_the_tree_depends_on_the_number_of_blocks_only(count: int, depth: int, seed: int) -> None:
    expected = absorbed((count,), None, Random(0), depth=1).memory[1 << 20]
    assert absorbed((count,), None, Random(seed), depth=depth).memory[1 << 20] == expected
    assert expected.replace("(", "").replace(")", "").split() == [str(number) for number in range(count)]
