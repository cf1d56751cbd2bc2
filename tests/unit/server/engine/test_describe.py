from __future__ import annotations

from hashlib import blake2b

import msgspec
import pytest

from arraymill_server.arena.memory import Memory
from arraymill_server.engine.describe import TaskFacts, facts_of
from arraymill_server.ops.spec import ReduceSpec, ScanSpec
from arraymill_server.plan.program import (
    BatchTask,
    BlockTask,
    CarryTask,
    FinishTask,
    MergeTask,
    Program,
    ProgramRef,
    Reduce,
    Region,
    Scan,
    Sink,
    Step,
    Store,
    Task,
)
from arraymill_server.testing.faults import write_task

SUM = ReduceSpec("sum", (0,), "<f8", "<f8")
MEAN = ReduceSpec("mean", (0,), "<f4", "<f4")
CUMSUM = ScanSpec("cumsum", 0, "<f8", "<f8")


def region(*shape: int) -> Region:
    return Region(0, shape, (0,) * len(shape))


def facts_of_block(
    steps: tuple[str, ...],
    sinks: tuple[Sink, ...],
    operands: tuple[Region, ...] = (),
    outputs: tuple[tuple[Region, ...], ...] = (),
) -> TaskFacts:
    program = Program(("<f8", "|i1"), (), tuple(Step(name, (0,), "<f8") for name in steps), sinks)
    encoded = msgspec.msgpack.encode(program)
    ref = ProgramRef(blake2b(encoded, digest_size=16).digest(), 3, len(encoded))
    return facts_of(BlockTask(ref, (), (), operands, outputs), Memory(b"..." + encoded + b"..."))


def named(steps: tuple[str, ...], sinks: tuple[Sink, ...]) -> str:
    return facts_of_block(steps, sinks).operation


def test_a_block_is_named_by_its_steps_and_sinks() -> None:
    assert named(("multiply", "add", "multiply"), (Reduce(1, SUM),)) == "multiply, add, sum"
    assert named(("sqrt",), (Store(1, "<f8"), Scan(0, CUMSUM))) == "sqrt, cumsum"
    assert named((), (Store(0, "<f8"),)) == "copy"


def test_a_batch_is_named_as_its_blocks() -> None:
    encoded = msgspec.msgpack.encode(Program(("<f8",), (), (Step("sqrt", (0,), "<f8"),), (Store(1, "<f8"),)))
    ref = ProgramRef(blake2b(encoded, digest_size=16).digest(), 0, len(encoded))
    block = BlockTask(ref, (), (), (region(5),), ((region(5),),))
    assert facts_of(BatchTask((block, block)), Memory(encoded)) == TaskFacts("sqrt", 160)


def test_long_programs_are_cut() -> None:
    assert named(tuple("abcdefgh"), ()) == "a, b, c, d, e, f and 2 more"


def test_a_program_that_cannot_be_read_is_still_named() -> None:
    for ref in (ProgramRef(b"", 0, 4), ProgramRef(b"", 2, 4), ProgramRef(b"", -1, 2)):
        task = BlockTask(ref, (), (), (), ())
        assert facts_of(task, Memory(b"\xff\xff\xff\xff")) == TaskFacts("a block program", 0)


def test_a_program_that_a_client_has_put_there_is_not_believed() -> None:
    encoded = msgspec.msgpack.encode(Program(("<f8",), (), (Step("x", (0,), "<f8"),), ()))
    task = BlockTask(ProgramRef(bytes(16), 0, len(encoded)), (), (), (), ())
    assert facts_of(task, Memory(encoded)) == TaskFacts("a block program", 0)


def test_the_bytes_of_a_block_are_what_it_reads_and_writes() -> None:
    facts = facts_of_block(
        ("sqrt",),
        (Store(2, "<f4"), Reduce(2, SUM)),
        (region(3, 100), region(1, 100)),
        ((region(3, 100),), (region(3, 1),)),
    )
    assert facts.nbytes == 300 * 8 + 100 * 1 + 300 * 4 + 3 * 8


@pytest.mark.parametrize(
    ("task", "facts"),
    [
        (MergeTask(SUM, (region(8),), (region(8),), (region(8),)), TaskFacts("sum", 3 * 8 * 8)),
        (FinishTask(MEAN, 100, (region(8),), region(8)), TaskFacts("mean", 8 * 8 + 8 * 4)),
        (CarryTask(CUMSUM, (region(1),), (region(1),), (region(1),)), TaskFacts("cumsum", 3 * 8)),
        (write_task(0, 0), TaskFacts("write", 0)),
    ],
)
def test_other_tasks_are_known_by_their_operation(task: Task, facts: TaskFacts) -> None:
    assert facts_of(task, Memory(b"x")) == facts
