"""Runs tasks on the arena: all that a worker computes.

Theory of operation. A block is walked in pieces that fit the cache (see `plan.blocks`, `plan.layout`). For each piece
the operands are sliced views of the arena, every instruction is one kernel call with `out=` in a reused slot of
scratch, and the sinks take the results out (see `plan.sinks`). No temporary of a block's size exists, and Python's
share is a few slices and calls for each piece.

Every region is checked against the memory that it names before a view of it is made: a defect of the planner becomes
an InternalError, never a read outside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np

from arraymill_proto.errors import InternalError
from arraymill_server.arena.memory import Memory
from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.ops.scans import SCANS
from arraymill_server.plan.blocks import PIECE_BYTES
from arraymill_server.plan.layout import Array, Code, DType, Layout, Recent, Scratch, broadcast_mask
from arraymill_server.plan.program import (
    BatchTask,
    BlockTask,
    CarryTask,
    FinishTask,
    MergeTask,
    Program,
    ProgramRef,
    Region,
    Task,
)
from arraymill_server.plan.sinks import Take, make_take, sink_dtypes

PROGRAMS: Final = 64
"""Programs that a worker keeps decoded: more than jobs run at once on one worker."""

Parts = tuple[Array, ...]


class Interpreter:
    """Runs tasks, one at a time; not for use by several threads."""

    def __init__(self, memory: Memory, *, piece_bytes: int = PIECE_BYTES) -> None:
        """Attach to memory.

        Args:
            memory: What tasks may name.
            piece_bytes: Target size of a register; tests make it a few elements.
        """
        self._memory = memory
        self._scratch = Scratch(piece_bytes)
        self._codes: Recent[bytes, Code] = Recent(PROGRAMS)
        self._decoder = msgspec.msgpack.Decoder(Program)
        self._binds: dict[type[Any], Callable[[Any], Callable[[], None]]] = {
            BlockTask: self._bind_block,
            BatchTask: self._bind_batch,
            MergeTask: self._bind_merge,
            FinishTask: self._bind_finish,
            CarryTask: self._bind_carry,
        }

    def __repr__(self) -> str:
        return f"<Interpreter of {self._memory!r}, {len(self._codes)} programs>"

    def run(self, task: Task) -> None:
        """Run one task to its end.

        Raises:
            ComputationError: NumPy refuses the values.
            ShapeError: A reduction of no elements has no identity.
            InternalError: The task is malformed: a defect of the planner.
        """
        with np.errstate(all="ignore"):
            self.bind(task)()

    def bind(self, task: Task) -> Callable[[], None]:
        """Return what runs one task, as often as it is called: its views are made, its program is decoded.

        The program must lie in the arena now, and need not later. To be called as `run` does, under `np.errstate`.
        """
        return self._binds[type(task)](task)

    def _load(self, ref: ProgramRef) -> Code:
        try:
            data = bytes(self._memory.bytes(ref.offset, ref.length))
        except ValueError as exc:
            raise InternalError(f"the program at {ref.offset:#x} of {ref.length} bytes lies in no memory") from exc
        if blake2b(data, digest_size=16).digest() != ref.digest:
            raise InternalError(f"the program at {ref.offset} is not the one that the task names")
        return Code(self._decoder.decode(data))

    def _view(self, region: Region, dtype: DType) -> Array:
        low = high = region.offset
        for length, stride in zip(region.shape, region.strides, strict=True):
            if length == 0:
                return np.empty(region.shape, dtype)
            span = (length - 1) * stride
            low, high = (low + span, high) if span < 0 else (low, high + span)
        found = self._memory.holding(low, high + dtype.itemsize)
        if found is None or min(region.shape, default=1) < 0:
            raise InternalError(f"a region spans the bytes {low:#x} to {high + dtype.itemsize:#x} of {self._memory!r}")
        memory, first = found
        return np.ndarray(region.shape, dtype, memory, region.offset - first, region.strides)

    def _views(self, regions: tuple[Region, ...], dtypes: tuple[DType, ...]) -> Parts:
        return tuple(self._view(region, dtype) for region, dtype in zip(regions, dtypes, strict=True))

    def _bind_block(self, task: BlockTask) -> Callable[[], None]:
        code = self._codes.get(task.program.digest, lambda: self._load(task.program))
        operands = self._views(task.operands, code.operands)
        outputs = [
            self._views(regions, sink_dtypes(sink))
            for sink, regions in zip(code.program.sinks, task.outputs, strict=True)
        ]
        shapes = tuple(operand.shape for operand in operands)
        targets = tuple(parts[0].shape for parts in outputs)
        layout = code.layouts.get(
            (task.shape, shapes, targets), lambda: Layout(code, task.shape, shapes, targets, self._scratch)
        )

        def takes() -> list[Take | None]:
            return [
                make_take(number, sink, layout, task.start, parts)
                for number, (sink, parts) in enumerate(zip(code.program.sinks, outputs, strict=True))
            ]

        if not layout.pieces:  # to make what takes nothing out writes the identities
            return lambda: _nothing(takes())
        return self._walk(code, layout, operands, outputs, [take for take in takes() if take is not None])

    @staticmethod
    def _walk(
        code: Code, layout: Layout, operands: Parts, outputs: list[Parts], takes: list[Any]
    ) -> Callable[[], None]:
        """Return what runs the instructions and sinks on every piece."""
        inputs = [(index, view, broadcast_mask(view.shape)) for index, view in enumerate(operands)]
        no_mask = (False,) * len(layout.block)
        direct = {register: outputs[sink][0] for register, sink in layout.direct.items()}
        calls = [
            (number, instruction.kernel, instruction.args, instruction.params, instruction.target)
            for number, instruction in enumerate(code.instructions)
        ]

        def walk() -> None:
            registers: list[Any] = [None] * len(code.dtypes) + code.constants
            for piece in layout.pieces:
                scratch = layout.scratch[piece.variant]
                for index, view, mask in inputs:
                    registers[index] = view[piece.of(mask)]
                for number, kernel, args, params, target in calls:
                    out = scratch[number]
                    if out is None:
                        out = direct[target][piece.of(no_mask)]
                    kernel([registers[arg] for arg in args], out, params)
                    registers[target] = out
                for take in takes:
                    take(registers, piece)

        return walk

    def _bind_batch(self, task: BatchTask) -> Callable[[], None]:
        calls = [self.bind(each) for each in task.tasks]

        def run() -> None:
            for call in calls:
                call()

        return run

    def _bind_merge(self, task: MergeTask) -> Callable[[], None]:
        reduction = REDUCTIONS[task.spec.op]
        dtypes = reduction.components(task.spec)
        left, right, out = (self._views(regions, dtypes) for regions in (task.left, task.right, task.out))
        return partial(reduction.merge, task.spec, left, right, out)

    def _bind_finish(self, task: FinishTask) -> Callable[[], None]:
        reduction = REDUCTIONS[task.spec.op]
        parts = self._views(task.parts, reduction.components(task.spec))
        out = self._view(task.out, np.dtype(task.spec.result))
        return partial(reduction.finish, task.spec, parts, task.count, out)

    def _bind_carry(self, task: CarryTask) -> Callable[[], None]:
        scan = SCANS[task.spec.op]
        dtypes = scan.components(task.spec)
        carry, total, out = (self._views(regions, dtypes) for regions in (task.carry, task.total, task.out))
        return partial(scan.carry, task.spec, carry, total, out)


def _nothing(_: object) -> None:
    """Leave a value."""
