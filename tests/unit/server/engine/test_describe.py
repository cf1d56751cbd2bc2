from __future__ import annotations

import msgspec

from arraymill_server.engine.describe import operations_of
from arraymill_server.ops.spec import ReduceSpec, ScanSpec
from arraymill_server.plan.program import BlockTask, MergeTask, Program, ProgramRef, Reduce, Scan, Sink, Step, Store

SUM = ReduceSpec("sum", (0,), "<f8", "<f8")


def described(steps: tuple[str, ...], sinks: tuple[Sink, ...]) -> str:
    program = Program(("<f8",), (), tuple(Step(name, (0,), "<f8") for name in steps), sinks)
    encoded = msgspec.msgpack.encode(program)
    ref = ProgramRef(b"", 3, len(encoded))
    return operations_of(BlockTask(ref, (), (), (), ()), memoryview(b"..." + encoded + b"..."))


def test_a_block_is_named_by_its_steps_and_sinks() -> None:
    assert described(("multiply", "add", "multiply"), (Reduce(1, SUM),)) == "multiply, add, sum"
    assert described(("sqrt",), (Store(1, "<f8"), Scan(0, ScanSpec("cumsum", 0, "<f8", "<f8")))) == "sqrt, cumsum"
    assert described((), (Store(0, "<f8"),)) == "copy"


def test_long_programs_are_cut() -> None:
    assert described(tuple("abcdefgh"), ()) == "a, b, c, d, e, f and 2 more"


def test_a_program_that_cannot_be_read_is_still_named() -> None:
    task = BlockTask(ProgramRef(b"", 0, 4), (), (), (), ())
    assert operations_of(task, memoryview(b"\xff\xff\xff\xff")) == "a block program"


def test_other_tasks_are_named_by_their_operation() -> None:
    assert operations_of(MergeTask(SUM, (), (), ()), memoryview(b"")) == "sum"
