from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_server.engine import cost
from arraymill_server.engine.cost import BASE_WORK, FIRST_RATE, FLOOR_SECONDS, KINDS, SAFETY, CostModel, Size, size_of
from arraymill_server.ops.spec import ReduceSpec, ScanSpec
from arraymill_server.plan.program import (
    BatchTask,
    BlockTask,
    CarryTask,
    FinishTask,
    MergeTask,
    ProgramRef,
    Region,
    Task,
)

TIMEOUT = 60.0


def block(elements: int, *, digest: bytes = b"d" * 16, length: int = 60) -> Size:
    return size_of(BlockTask(ProgramRef(digest, 0, length), (0,), (elements,), (), ()))


def region(*shape: int) -> Region:
    return Region(0, shape, (0,) * len(shape))


def test_a_batch_costs_what_its_blocks_do() -> None:
    blocks = tuple(BlockTask(ProgramRef(b"d" * 16, 0, 60), (0,), (elements,), (), ()) for elements in (1000, 1000, 500))
    size = size_of(BatchTask(blocks))
    assert (size.kind, size.operations) == (block(0).kind, block(0).operations)
    assert size.work == 3 * BASE_WORK + 2500


@pytest.fixture
def model() -> CostModel:
    return CostModel(TIMEOUT)


def test_before_the_first_answer_size_and_length_tell(model: CostModel) -> None:
    work = BASE_WORK + (1 << 20)
    assert model.expect(block(1 << 20)) == pytest.approx(FIRST_RATE * work * 6)
    assert model.expect(block(1 << 20, length=0)) == pytest.approx(FIRST_RATE * work)
    assert model.expect(block(0)) < 0.01


def test_a_measured_kind_is_expected_to_take_as_long_again(model: CostModel) -> None:
    model.learn(block(1 << 20), 0.5)
    assert model.expect(block(1 << 20)) == pytest.approx(0.5)
    assert model.expect(block(1 << 19)) == pytest.approx(0.25, rel=0.01)
    assert model.expect(block(1 << 20, digest=b"e" * 16)) < 1, "another program is another kind"
    assert model.limit(0.6) == pytest.approx(6.0)


def test_small_tasks_do_not_let_large_ones_appear_slow(model: CostModel) -> None:
    model.learn(block(10), 50e-6)
    assert model.expect(block(1 << 20)) < 0.01


@given(st.lists(st.floats(1e-9, 100.0), min_size=1, max_size=30))
def test_the_slowest_of_late_counts(seconds: list[float]) -> None:
    model = CostModel(TIMEOUT)
    expected: list[float] = []
    for value in seconds:
        model.learn(block(1000), value)
        expected.append(model.expect(block(1000)))
    assert all(known >= value * 0.999 for known, value in zip(expected, seconds, strict=True))
    assert all(after >= cost.DECAY * before * 0.999 for before, after in pairwise(expected))
    assert max(expected) <= max(seconds) * 1.001


@given(st.floats(0.0, 1e9), st.floats(0.1, 1e5))
def test_limits_have_bounds(expected: float, timeout: float) -> None:
    limit = CostModel(timeout).limit(expected)
    assert limit <= timeout
    assert limit >= min(timeout, FLOOR_SECONDS)
    assert limit >= min(timeout, SAFETY * expected)


def test_tasks_of_partials_are_known_by_their_operation(model: CostModel) -> None:
    spec = ReduceSpec("sum", (0,), "<f8", "<f8")
    scan = ScanSpec("cumsum", 0, "<f8", "<f8")
    tasks: list[Task] = [
        MergeTask(spec, (region(8),), (region(8),), (region(8),)),
        FinishTask(spec, 9, (region(8),), region(8)),
        CarryTask(scan, (region(8),), (region(8),), (region(8),)),
    ]
    for number, task in enumerate(tasks, 1):
        model.learn(size_of(task), float(number))
    assert [model.expect(size_of(task)) for task in tasks] == pytest.approx([1.0, 2.0, 3.0])
    larger = MergeTask(spec, (region(BASE_WORK),), (region(BASE_WORK),), (region(BASE_WORK),))
    assert model.expect(size_of(larger)) == pytest.approx(3.0, rel=0.01)


def test_kinds_are_bounded(model: CostModel) -> None:
    for number in range(KINDS + 1):
        model.learn(block(1, digest=number.to_bytes(16, "big")), 9.0)
    assert repr(model) == f"<CostModel {KINDS} kinds, limit 60 s>"
    assert model.expect(block(1, digest=bytes(16))) < 1, "the oldest is forgotten"
    assert model.expect(block(1, digest=KINDS.to_bytes(16, "big"))) == pytest.approx(9.0)
