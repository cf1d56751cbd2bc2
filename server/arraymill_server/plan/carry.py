"""Carries of scans from block to block.

The blocks along a scanned axis form a *chain*. When a block's total is known and all blocks before it in the chain have
passed their carry on, the carry into the block is known; the carry out of it is the carry in joined with the total.
Joining is the only sequential part of a scan, and it touches one slice of a block.

The carry into the first block is the identity: one element that is read with strides of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np

from arraymill_server.ops.scans import SCANS
from arraymill_server.plan.absorb import INLINE_BYTES
from arraymill_server.plan.domain import Block
from arraymill_server.plan.host import Host
from arraymill_server.plan.model import PassPlan, ScanPlan
from arraymill_server.plan.program import CarryTask, Region
from arraymill_server.plan.regions import Buffers, parts
from arraymill_server.plan.workspace import PassLayout

_IDENTITY = 0
"""Every pool's first buffer holds the identity."""

Carried = Callable[[int, int], None]
"""Told the scan and the buffer of the carry into a block."""

Then = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    block: Block
    total: int
    then: Carried
    joined: Then


@dataclass(slots=True)
class _Chain:
    carry: int = _IDENTITY
    """Buffer of the carry into the next block."""
    next: int = 0
    """Place in the chain of the next block."""
    waiting: dict[int, _Waiting] = field(default_factory=dict[int, "_Waiting"])
    is_joining: bool = False


class Chains:
    """The chains of all scans of a pass."""

    def __init__(self, plan: PassPlan, layout: PassLayout, base: int, host: Host) -> None:
        self._plan = plan
        self._layout = layout
        self._base = base
        self._host = host
        self._buffers = [Buffers(pool.count, first=1) for pool in layout.carries]
        self._users: list[dict[int, int]] = [{} for _ in plan.scans]
        """How many still read each buffer."""
        self._chains: list[dict[tuple[int, ...], _Chain]] = [{} for _ in plan.scans]

    def start(self) -> None:
        """Write the identities."""
        for number, scan in enumerate(self._plan.scans):
            values = tuple(np.empty((), dtype) for dtype in scan.components)
            SCANS[scan.spec.op].identity(scan.spec, values)
            address = self._base + self._layout.carries[number].address(_IDENTITY)
            for value, region in zip(values, parts(address, (), scan.components, scan.carry_elements), strict=True):
                self._host.write(region.offset, value.tobytes())

    def regions(self, number: int, block: Block, buffer: int) -> tuple[Region, ...]:
        """The components of a carry into a block; the last one is what the carry kernel applies."""
        scan = self._plan.scans[number]
        shape = scan.carry_shape(block)
        address = self._base + self._layout.carries[number].address(buffer)
        regions = parts(address, shape, scan.components, scan.carry_elements)
        if buffer != _IDENTITY:
            return regions
        return tuple(Region(region.offset, shape, (0,) * len(shape)) for region in regions)

    def total_ready(self, number: int, block: Block, total: int, then: Carried, joined: Then) -> None:
        """A block's total lies at an address.

        Args:
            number: The scan.
            block: The block.
            total: The address.
            then: Called when the carry into the block is known.
            joined: Called when the total is no longer read.
        """
        scan = self._plan.scans[number]
        key = tuple(i for axis, i in enumerate(block.index) if axis not in scan.inner)
        chain = self._chains[number].setdefault(key, _Chain())
        chain.waiting[self._place(scan, block)] = _Waiting(block, total, then, joined)
        self._go_on(number, key)

    def release(self, carries: dict[int, int]) -> None:
        """A block no longer reads its carries."""
        for number, buffer in carries.items():
            self._drop(number, buffer)

    # ------------------------------------------------------------------ inside

    def _place(self, scan: ScanPlan, block: Block) -> int:
        place = 0
        for axis in scan.inner:
            place = place * self._plan.domain.grid.counts[axis] + block.index[axis]
        return place

    def _length(self, scan: ScanPlan) -> int:
        return prod(self._plan.domain.grid.counts[axis] for axis in scan.inner)

    def _go_on(self, number: int, key: tuple[int, ...]) -> None:
        chain, scan = self._chains[number][key], self._plan.scans[number]
        while not chain.is_joining and chain.next in chain.waiting:
            waiting, carry = chain.waiting.pop(chain.next), chain.carry
            chain.next += 1
            self._use(number, carry)
            if chain.next < self._length(scan):
                self._join(number, key, waiting)
            else:
                del self._chains[number][key]
                waiting.joined()
            waiting.then(number, carry)

    def _join(self, number: int, key: tuple[int, ...], waiting: _Waiting) -> None:
        """Work out the carry into the next block of a chain."""
        chain, scan = self._chains[number][key], self._plan.scans[number]
        carry, out = chain.carry, self._buffers[number].take()
        shape = scan.carry_shape(waiting.block)
        address = self._base + self._layout.carries[number].address(out)
        task = CarryTask(
            spec=scan.spec,
            carry=self.regions(number, waiting.block, carry),
            total=parts(waiting.total, shape, scan.components, scan.carry_elements),
            out=parts(address, shape, scan.components, scan.carry_elements),
        )
        if scan.carry_bytes <= INLINE_BYTES:
            self._host.compute(task)
            chain.carry = out
            waiting.joined()
            return
        chain.is_joining = True
        self._use(number, carry)

        def joined() -> None:
            self._drop(number, carry)
            chain.carry = out
            chain.is_joining = False
            waiting.joined()
            self._go_on(number, key)

        self._host.dispatch(task, joined)

    def _use(self, number: int, buffer: int) -> None:
        users = self._users[number]
        users[buffer] = users.get(buffer, 0) + 1

    def _drop(self, number: int, buffer: int) -> None:
        users = self._users[number]
        users[buffer] -= 1
        if not users[buffer]:
            del users[buffer]
            if buffer != _IDENTITY:
                self._buffers[number].give(buffer)
