"""The watch sees every broken rule of memory; without that, a simulation that passes would prove nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plans import floats, graph_of, operation, plan_of

from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Instruction, Send, Write
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import Part, Wanted
from arraymill_server.plan.program import BlockTask, FinishTask, MergeTask, Region, Task
from arraymill_server.plan.regions import contiguous
from arraymill_server.plan.workspace import JobLayout
from arraymill_server.testing.arrays import POISON
from arraymill_server.testing.watch import Watch

PLAN = plan_of(graph_of(floats(8), operation("sum", 0)), block_elements=4)
SPEC = PLAN.passes[0].reductions[0].spec


def at(address: int, length: int = 1) -> tuple[Region, ...]:
    return (contiguous(address, (length,), 8),)


def merge(left: int, right: int, out: int) -> Task:
    return MergeTask(SPEC, at(left), at(right), at(out))


def fetch(address: int, nbytes: int = 8) -> Fetch:
    return Fetch(1, Wanted(0, 0, nbytes, (0,)), address)


def send(address: int, nbytes: int = 8) -> Send:
    return Send(1, (0,), Part(0, nbytes, address))


@pytest.fixture
def watch() -> Watch:
    """A watch of 256 bytes, of which the first 128 are written."""
    memory = np.zeros(256, np.uint8)
    watch = Watch(memory, PLAN)
    assert (memory == POISON).all()
    watch.know(0, np.zeros(128, np.uint8))
    return watch


def test_what_is_allowed(watch: Watch) -> None:
    watch.begin(Dispatch(1, merge(0, 8, 128)))
    watch.begin(Dispatch(2, merge(0, 8, 136)))
    watch.end(Dispatch(1, merge(0, 8, 128)))
    watch.begin(send(128))
    watch.end(Dispatch(2, merge(0, 8, 136)))
    watch.begin(Dispatch(3, FinishTask(SPEC, 1, at(136), at(0)[0])))
    watch.end(send(128))
    watch.free(128, 8)
    watch.begin(fetch(128))


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [
        (None, Dispatch(1, merge(0, 8, 8)), "writes what it, or another one, reads"),
        (None, Dispatch(1, merge(0, 8, 4)), "writes what it, or another one, reads"),
        (None, Compute(merge(0, 128, 8)), "reads what nobody has written"),
        (None, send(124), "reads what nobody has written"),
        (send(8), fetch(0, 16), "writes what it, or another one, reads"),
        (Dispatch(1, merge(0, 8, 128)), Write(0, b"12345678"), "writes what it, or another one, reads"),
        (fetch(128, 64), Dispatch(1, merge(0, 8, 184)), "writes what another one writes"),
        (fetch(128, 64), send(184), "reads what another one writes"),
        (Dispatch(1, merge(0, 8, 128)), send(128), "reads what another one writes"),
    ],
)
def test_what_is_not(watch: Watch, first: Instruction | None, second: Instruction, rule: str) -> None:
    if first is not None:
        watch.begin(first)
    with pytest.raises(AssertionError, match=rule):
        watch.begin(second)


@pytest.mark.parametrize("instruction", [fetch(128), send(64), Dispatch(1, merge(0, 8, 64))])
def test_nothing_is_given_up_that_is_in_use(watch: Watch, instruction: Instruction) -> None:
    watch.begin(instruction)
    with pytest.raises(AssertionError, match="are free while somebody"):
        watch.free(60, 80)
    watch.end(instruction)
    watch.free(60, 80)


def test_what_was_given_up_cannot_be_read(watch: Watch) -> None:
    watch.free(0, 64)
    with pytest.raises(AssertionError, match="nobody has written"):
        watch.begin(send(56, 16))


def fetched() -> tuple[Watch, Dispatch, BlockTask]:
    """A watched job whose first block has arrived, and what computes it."""
    watch = Watch(np.zeros(1 << 13, np.uint8), PLAN)
    machine = JobMachine(PLAN, JobLayout(PLAN, 1), base=64)
    *writes, arrival = machine.start()
    for instruction in (*writes, arrival):
        watch.begin(instruction)
        watch.end(instruction)
    assert isinstance(arrival, Fetch)
    (dispatch,) = machine.done(arrival.token)
    assert isinstance(dispatch, Dispatch)
    assert isinstance(dispatch.task, BlockTask)
    return watch, dispatch, dispatch.task


def test_blocks_read_their_operands_and_their_program() -> None:
    _, dispatch, task = fetched()
    for output in (task.operands, at(task.program.offset)):
        watch, _, _ = fetched()
        wrong = BlockTask(task.program, task.start, task.shape, task.operands, (output,))
        with pytest.raises(AssertionError, match="writes what it, or another one, reads"):
            watch.begin(replace(dispatch, task=wrong))
    watch, _, _ = fetched()
    watch.free(task.operands[0].offset + 24, 8)
    with pytest.raises(AssertionError, match="reads what nobody has written"):
        watch.begin(dispatch)


def test_a_region_that_folds_onto_itself_is_no_output(watch: Watch) -> None:
    folded = (Region(128, (2,), (0,)),)
    with pytest.raises(AssertionError, match="writes bytes twice"):
        watch.begin(Dispatch(1, MergeTask(SPEC, at(0), at(8), folded)))
    watch.begin(Dispatch(1, MergeTask(SPEC, (Region(0, (2,), (0,)),), at(8), at(128))))
