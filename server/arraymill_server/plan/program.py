"""Block programs and tasks: what the planner writes and a worker runs.

Theory of operation. A *program* is the fused work of one pass over blocks: steps compute registers from operands,
sinks take registers out of the block (store it, reduce it to a partial, scan it). A *task* applies a program to one
block, or merges or finishes partials. Tasks name memory as regions of the arena, never as data, so every message is
small. Rules:

1. A task is pure: it reads some extents and writes others, and never writes what it reads. So a task whose worker died
   can run again on another worker.
2. A program never changes; it is named by the digest of its bytes and cached by workers under that name. Its bytes lie
   in the arena while the job lives, so programs of any length leave the pipes alone.
3. Registers are numbered: operands first (0 … n-1), then one per step. Negative arguments are constants: -1 is
   constants[0], -2 is constants[1].
4. Every register broadcasts to the domain of the pass; operands come with as many dimensions as the domain, of length
   1 where they broadcast.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from arraymill_server.ops.spec import ReduceSpec, Scalar, ScanSpec


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One elementwise operation."""

    op: str
    """Name of an elementwise kernel."""
    args: tuple[int, ...]
    """Registers (≥ 0) and constants (< 0)."""
    dtype: str
    """dtype string of the register that it makes."""
    params: dict[str, str | int | float | bool] = {}
    """Parameters of the kernel; a dtype is given as its string."""


class Store(msgspec.Struct, frozen=True, array_like=True, tag="store"):
    """Write a register to the task's output region, broadcast to the block and cast to `dtype`."""

    arg: int
    dtype: str


class Reduce(msgspec.Struct, frozen=True, array_like=True, tag="reduce"):
    """Reduce a register to the block's partial: one output region per component of the reduction."""

    arg: int
    spec: ReduceSpec
    where: int | None = None
    """The register (or constant) of the mask; it broadcasts against the argument."""


class Scan(msgspec.Struct, frozen=True, array_like=True, tag="scan"):
    """Scan a register within the block.

    Output regions: the scanned block, then the components of the block's total (see `ops.scans`).
    """

    arg: int
    spec: ScanSpec


Sink: TypeAlias = Store | Reduce | Scan


class Program(msgspec.Struct, frozen=True, array_like=True):
    """The fused work of one pass, or of one stage of it, on one block."""

    operands: tuple[str, ...]
    """dtype string of each operand, with its byte order."""
    constants: tuple[Scalar, ...]
    steps: tuple[Step, ...]
    sinks: tuple[Sink, ...]


class Region(msgspec.Struct, frozen=True, array_like=True):
    """A strided view of the arena; its dtype is the program's affair."""

    offset: int
    """Bytes from the start of the arena to element (0, …, 0)."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Bytes; 0 on broadcast axes, negative for reversed slices."""


class ProgramRef(msgspec.Struct, frozen=True, array_like=True):
    """Where the bytes of a program lie in the arena, and its name."""

    digest: bytes
    """blake2b of the bytes, 16 bytes: the name under which workers cache it."""
    offset: int
    length: int


class BlockTask(msgspec.Struct, frozen=True, array_like=True, tag="block"):
    """Run a program on one block."""

    program: ProgramRef
    start: tuple[int, ...]
    """Index of the block's first element in the domain."""
    shape: tuple[int, ...]
    """Shape of the block."""
    operands: tuple[Region, ...]
    """One per operand of the program, each of the block's dimensions (length 1 where it broadcasts)."""
    outputs: tuple[tuple[Region, ...], ...]
    """The regions of each sink."""


class MergeTask(msgspec.Struct, frozen=True, array_like=True, tag="merge"):
    """out = merge(left, right): `left` stands for earlier elements. `out` is other memory than both."""

    spec: ReduceSpec
    left: tuple[Region, ...]
    right: tuple[Region, ...]
    out: tuple[Region, ...]


class FinishTask(msgspec.Struct, frozen=True, array_like=True, tag="finish"):
    """Turn a complete partial into the final values."""

    spec: ReduceSpec
    count: int
    """Number of elements that were reduced into each result, masked ones included."""
    parts: tuple[Region, ...]
    out: Region


class CarryTask(msgspec.Struct, frozen=True, array_like=True, tag="carry"):
    """out = carry + total: the scan's state behind a block, for the block after it."""

    spec: ScanSpec
    carry: tuple[Region, ...]
    total: tuple[Region, ...]
    out: tuple[Region, ...]


class BatchTask(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Run tasks one after the other on one worker; one may read what those before it have written.

    As a whole it is pure: it reads no memory from before that it writes.
    """

    tasks: tuple[BlockTask | MergeTask, ...]
    """The first is a block."""

    @property
    def blocks(self) -> tuple[BlockTask, ...]:
        return tuple(task for task in self.tasks if isinstance(task, BlockTask))


Task: TypeAlias = BlockTask | BatchTask | MergeTask | FinishTask | CarryTask
"""All that a worker does."""
