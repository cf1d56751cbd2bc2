"""What an interpreter knows before it runs: a decoded program, and how one shape of block is walked.

Theory of operation. A `Code` is a program ready to run: kernels looked up, constants decoded, last uses known. A
`Layout` is what the shapes of a block add to it: the pieces, and for each instruction the scratch memory of its result.
Both are made once and used for every block of the same shape, so a piece costs slicing and calls only. A program
without instructions whose only sink is one loop of NumPy's takes the block whole.

Registers live in *slots* of one scratch buffer, given out by linear scan: a slot is free again after the last use of
its register, and a kernel that is one ufunc writes over an argument that dies there. The scratch buffer has a fixed
size; a program that needs many slots gets smaller pieces, so no program can make a worker allocate. A register that a
Store sink takes as it is has no slot: it is computed in the output region itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from math import prod
from types import EllipsisType
from typing import Any, Final, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from arraymill_proto.errors import InternalError
from arraymill_server.ops.elementwise import IN_PLACE, KERNELS, PLANNER_KERNELS, Kernel, Params
from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.plan.blocks import Grid
from arraymill_server.plan.program import Program, Reduce, Scan, Sink, Store

Array: TypeAlias = npt.NDArray[Any]
DType: TypeAlias = np.dtype[Any]
Shape: TypeAlias = tuple[int, ...]
Index: TypeAlias = tuple[slice | EllipsisType, ...]
Mask: TypeAlias = tuple[bool, ...]
"""For each axis: does the array have length 1 there, whatever the piece?"""

SCRATCH_BYTES: Final = 8 << 20
"""Memory of all registers: 16 of a full piece; most expressions need 1 to 4."""

LAYOUTS: Final = 8
"""Layouts kept for each program: a pass has at most a handful of block shapes (a remainder per axis)."""

_ALIGNMENT: Final = 64

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A mapping that makes missing values and forgets those used least recently."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = make()
            if len(self._values) > self._limit:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(key)
        return value

    def find(self, key: Key) -> Value | None:
        """Return a value if it is there; this counts as a use."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One kernel call: registers (≥ 0) and constants (< 0) in, a register out."""

    kernel: Kernel
    args: tuple[int, ...]
    params: Params
    target: int
    in_place: bool
    """True when the kernel may write over an argument."""


def _load(args: Sequence[Any], out: Array, params: Params) -> None:
    """Copy an operand of foreign byte order to native memory."""
    np.copyto(out, args[0])


def needs_pieces(sink: Sink) -> bool:
    """Return whether a sink gains from pieces when nothing is computed before it: most of NumPy's loops do not."""
    return isinstance(sink, Scan) or (isinstance(sink, Reduce) and REDUCTIONS[sink.spec.op].in_pieces(sink.spec))


class Code:
    """A program ready to run."""

    def __init__(self, program: Program) -> None:
        kernels = KERNELS | PLANNER_KERNELS
        self.program = program
        self.operands: tuple[DType, ...] = tuple(np.dtype(name) for name in program.operands)
        self.constants = [scalar.value() for scalar in reversed(program.constants)]
        self.dtypes: tuple[DType, ...] = tuple(dtype.newbyteorder("=") for dtype in self.operands) + tuple(
            np.dtype(step.dtype) for step in program.steps
        )
        first = len(self.operands)
        self.instructions = tuple(
            Instruction(_load, (index,), {}, index, in_place=False)
            for index, dtype in enumerate(self.operands)
            if not dtype.isnative
        ) + tuple(
            Instruction(kernels[step.op], step.args, step.params, first + index, step.op in IN_PLACE)
            for index, step in enumerate(program.steps)
        )
        self.last_uses = self._last_uses()
        self.in_pieces = bool(self.instructions) or len(program.sinks) != 1 or needs_pieces(program.sinks[0])
        self.layouts: Recent[Hashable, Layout] = Recent(LAYOUTS)

    def _last_uses(self) -> dict[int, int]:
        """Return for each register the last instruction that reads it; sinks read after all instructions."""
        uses = {
            arg: index
            for index, instruction in enumerate(self.instructions)
            for arg in (instruction.target, *instruction.args)
        }
        for sink in self.program.sinks:
            uses[sink.arg] = len(self.instructions)
            where = getattr(sink, "where", None)
            if where is not None:
                uses[where] = len(self.instructions)
        return uses

    @property
    def itemsize(self) -> int:
        """Bytes of the widest element of a register."""
        return max((dtype.itemsize for dtype in self.dtypes), default=1)


def broadcast_mask(shape: Shape) -> Mask:
    """Return on which axes an array of this shape is taken whole by every piece."""
    return tuple(length == 1 for length in shape)


@dataclass(slots=True)
class Piece:
    """One piece of a block."""

    number: int
    """0, 1, … in C order."""
    start: Shape
    """Index of the first element in the block."""
    shape: Shape
    axis: int
    """The split axis: later ones are whole."""
    variant: int
    """Which of the layout's sets of scratch arrays fits."""
    _cuts: dict[Mask, Index] = field(default_factory=dict[Mask, Index])

    def of(self, mask: Mask) -> Index:
        """Return the index of the piece in an array that has length 1 on the axes of the mask."""
        cut = self._cuts.get(mask)
        if cut is None:
            slices = [
                slice(None) if whole else slice(first, first + length)
                for whole, first, length in zip(mask, self.start, self.shape, strict=True)
            ]
            cut = self._cuts[mask] = (*slices[: self.axis + 1], ...)
        return cut


class Layout:
    """How blocks of one shape are walked."""

    def __init__(
        self, code: Code, block: Shape, operands: tuple[Shape, ...], outputs: tuple[Shape, ...], space: Scratch
    ) -> None:
        """Plan the walk.

        Args:
            code: The program.
            block: Shape of the block.
            operands: Shapes of the operands.
            outputs: Shapes of the first region of each sink.
            space: The memory of registers.
        """
        self.block = block
        self.shapes = _register_shapes(code, block, operands)
        self.direct = _direct_stores(code, block, self.shapes, outputs)
        slots, used = _allocate(code, self.shapes, self.direct)
        limit = space.piece_bytes(used)
        self.pieces = _pieces(Grid.cut(block, code.itemsize, limit if code.in_pieces else prod(block) * code.itemsize))
        self._first: dict[Shape, list[bool]] = {}
        self.scratch: list[list[Array | None]] = []
        for variant in range(1 + max((piece.variant for piece in self.pieces), default=-1)):
            shape = next(piece.shape for piece in self.pieces if piece.variant == variant)
            self.scratch.append(self._arrays(code, slots, shape, space))

    def first_pieces(self, axes: Shape) -> list[bool]:
        """Return for each piece whether it is the first of its cell in a reduction of these axes."""
        first = self._first.get(axes)
        if first is None:
            first = self._first[axes] = [not any(piece.start[axis] for axis in axes) for piece in self.pieces]
        return first

    def _arrays(self, code: Code, slots: list[int | None], piece: Shape, space: Scratch) -> list[Array | None]:
        """Return the memory of each instruction's result for pieces of one shape; None where it is an output."""
        slot_bytes = _aligned(prod(self.pieces[0].shape) * code.itemsize)
        arrays: list[Array | None] = []
        for instruction, slot in zip(code.instructions, slots, strict=True):
            shape = tuple(
                min(length, extent) for length, extent in zip(self.shapes[instruction.target], piece, strict=True)
            )
            dtype = code.dtypes[instruction.target]
            arrays.append(None if slot is None else space.array(slot * slot_bytes, shape, dtype))
        return arrays


class Scratch:
    """One buffer of fixed size in which all registers live."""

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._buffer = np.empty(SCRATCH_BYTES + _ALIGNMENT, np.uint8)
        self._origin = -self._buffer.ctypes.data % _ALIGNMENT

    def piece_bytes(self, slots: int) -> int:
        """Return the bytes of a register's piece when `slots` registers live at once."""
        return min(self._piece_bytes, SCRATCH_BYTES // max(1, slots) // _ALIGNMENT * _ALIGNMENT)

    def array(self, offset: int, shape: Shape, dtype: DType) -> Array:
        return np.ndarray(shape, dtype, self._buffer, self._origin + offset)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _broadcast(shapes: list[Shape], ndim: int) -> Shape:
    result = [1] * ndim
    for shape in shapes:
        for axis, length in enumerate(shape):
            if length != 1:
                result[axis] = length
    return tuple(result)


def _register_shapes(code: Code, block: Shape, operands: tuple[Shape, ...]) -> list[Shape]:
    """Return the shape of every register in a block: its own, with length 1 where it broadcasts."""
    for number, shape in enumerate(operands):
        if len(shape) != len(block) or any(a not in (1, b) for a, b in zip(shape, block, strict=True)):
            raise InternalError(f"operand {number} of shape {shape} does not fit a block of shape {block}")
    shapes = list(operands)
    for step in code.program.steps:
        shapes.append(_broadcast([shapes[arg] for arg in step.args if arg >= 0], len(block)))
    return shapes


def _direct_stores(code: Code, block: Shape, shapes: list[Shape], outputs: tuple[Shape, ...]) -> dict[int, int]:
    """Return which registers are computed in the output region of which sink."""
    computed = {instruction.target for instruction in code.instructions}
    direct: dict[int, int] = {}
    for number, (sink, output) in enumerate(zip(code.program.sinks, outputs, strict=True)):
        if (
            isinstance(sink, Store)
            and sink.arg in computed
            and np.dtype(sink.dtype) == code.dtypes[sink.arg]
            and shapes[sink.arg] == block == output
        ):
            direct[sink.arg] = number
    return direct


def _allocate(code: Code, shapes: list[Shape], direct: dict[int, int]) -> tuple[list[int | None], int]:
    """Give each instruction's result a slot, or none when it goes to an output; return them and how many there are."""
    slots: list[int | None] = []
    held: dict[int, int] = {}
    free: list[int] = []
    used = 0
    for index, instruction in enumerate(code.instructions):
        target = instruction.target
        dying = [arg for arg in dict.fromkeys(instruction.args) if arg in held and code.last_uses[arg] == index]
        slot: int | None = None
        if target not in direct:
            slot = _slot_of_argument(code, instruction, shapes, held, dying)
            if slot is None:
                if not free:
                    free.append(used)
                    used += 1
                slot = free.pop()
            held[target] = slot
        free.extend(held.pop(arg) for arg in dying)
        if target in held and code.last_uses[target] == index:
            free.append(held.pop(target))
        slots.append(slot)
    return slots, used


def _slot_of_argument(
    code: Code, instruction: Instruction, shapes: list[Shape], held: dict[int, int], dying: list[int]
) -> int | None:
    """Take over the slot of an argument that dies here, if the kernel may write over it."""
    if not instruction.in_place:
        return None
    target = instruction.target
    for arg in dying:
        if code.dtypes[arg] == code.dtypes[target] and shapes[arg] == shapes[target]:
            dying.remove(arg)
            return held.pop(arg)
    return None


def _pieces(grid: Grid) -> list[Piece]:
    """List the pieces of a block; the first one has the largest shape."""
    variants: dict[Shape, int] = {}
    pieces: list[Piece] = []
    for number in range(len(grid)):
        start, shape = grid.block(number)
        pieces.append(Piece(number, start, shape, grid.axis, variants.setdefault(shape, len(variants))))
    return pieces
