"""What a task does, in words for messages and logs."""

from __future__ import annotations

from typing import Final

import msgspec

from arraymill_server.plan.program import BlockTask, Program, Reduce, Scan, Task

MAX_NAMES: Final = 6
"""Most operations that a message names."""

_programs: Final = msgspec.msgpack.Decoder(Program)


def operations_of(task: Task, memory: memoryview) -> str:
    """Name the operations of a task: `sqrt, add, sum`.

    Args:
        task: The task; for a block, its program must still lie in the arena.
        memory: The arena.
    """
    if not isinstance(task, BlockTask):
        return task.spec.op
    ref = task.program
    try:
        program = _programs.decode(memory[ref.offset : ref.offset + ref.length])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "a block program"
    names = [step.op for step in program.steps]
    names += [sink.spec.op for sink in program.sinks if isinstance(sink, Reduce | Scan)]
    shown = list(dict.fromkeys(names))
    more = len(shown) - MAX_NAMES
    return ", ".join(shown[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "") or "copy"
