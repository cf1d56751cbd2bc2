"""Carries go from block to block in order, whatever order totals come in, and no buffer serves two at once."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
from clerk import Clerk
from plans import floats, graph_of, operation, plan_of

from arraymill_server.plan import carry
from arraymill_server.plan.carry import Chains
from arraymill_server.plan.domain import Block
from arraymill_server.plan.workspace import JobLayout

TOTALS = 1 << 20
"""Address of the total of block 0; the others follow, 64 bytes apart."""


class Flight:
    """Blocks of a cumsum on their way, at most `depth` at once, each of one element."""

    def __init__(self, shape: tuple[int, ...], axis: int | None, depth: int, random: Random) -> None:
        params = {} if axis is None else {"axis": axis}
        plan = plan_of(graph_of(floats(*shape), operation("cumsum", 0, **params)), block_elements=1)
        (self.step,) = plan.passes
        self.host = Clerk()
        self.chains = Chains(self.step, JobLayout(plan, depth).passes[0], 0, self.host)
        self.chains.start()
        self.depth, self.random = depth, random
        self.carries: dict[str, str] = {}
        self._flying: dict[int, set[str]] = {}
        """What blocks in flight still wait for."""
        self._buffers: dict[int, int] = {}

    def run(self) -> dict[str, str]:
        """Let all blocks pass; return the carry into each."""
        fresh = list(range(len(self.step.domain)))
        total: list[int] = []
        while fresh or total or self._flying:
            while fresh and len(self._flying) < self.depth:
                number = fresh.pop(0)
                self._flying[number] = {"carry", "join", "end"}
                total.append(number)
            ready = [number for number, waits in self._flying.items() if waits == {"end"}]
            acts = [partial(self._total, total)] if total else []
            acts += [partial(self.host.end_one, self.random)] if self.host.pending else []
            acts += [partial(self._end, self.random.choice(ready))] if ready else []
            self.random.choice(acts)()
        return self.carries

    def _total(self, total: list[int]) -> None:
        number = total.pop(self.random.randrange(len(total)))
        block = self.step.domain.block(number)
        self.host.memory[TOTALS + 64 * number] = _name(block)
        carried, joined = partial(self._carried, number), partial(self._flying[number].remove, "join")
        self.chains.total_ready(0, block, TOTALS + 64 * number, carried, joined)

    def _carried(self, number: int, scan: int, buffer: int) -> None:
        self._flying[number].remove("carry")
        self._buffers[number] = buffer
        self.carries[_name(self.step.domain.block(number))] = self._read(number)

    def _end(self, number: int) -> None:
        """A block reads its carry to the end, and lets go of it."""
        assert self._read(number) == self.carries[_name(self.step.domain.block(number))]
        self.chains.release({0: self._buffers[number]})
        del self._flying[number]

    def _read(self, number: int) -> str:
        block = self.step.domain.block(number)
        return self.host.memory[self.chains.regions(0, block, self._buffers[number])[0].offset]


def _name(block: Block) -> str:
    return ",".join(map(str, block.start))


@pytest.fixture(params=[16 << 10, -1], ids=["inline", "dispatched"], autouse=True)
def inline_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "INLINE_BYTES", request.param)


@pytest.fixture(params=[4 << 20, 0], ids=["c order", "cell by cell"])
def open_cell_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraymill_server.plan.domain.OPEN_CELL_BYTES", request.param)


@pytest.mark.usefixtures("open_cell_bytes")
@pytest.mark.parametrize("axis", [0, 1])
def test_carries_of_many_chains(axis: int) -> None:
    def before(row: int, column: int) -> list[str]:
        return [f"{k},{column}" for k in range(row)] if axis == 0 else [f"{row},{k}" for k in range(column)]

    expected = {f"{i},{j}": "+".join(["identity", *before(i, j)]) for i in range(4) for j in range(3)}
    for seed in range(60):
        assert Flight((4, 3), axis, 1 + seed % 6, Random(seed)).run() == expected


def test_a_flat_scan_is_one_chain() -> None:
    names = [f"{i},{j}" for i in range(3) for j in range(4)]
    expected = {name: "+".join(["identity", *names[:place]]) for place, name in enumerate(names)}
    for seed in range(30):
        assert Flight((3, 4), None, 1 + seed % 4, Random(seed)).run() == expected


def test_the_identity_is_one_element_that_stands_for_all() -> None:
    plan = plan_of(graph_of(floats(4, 3), operation("cumsum", 0, axis=0)), block_elements=3)
    (step,) = plan.passes
    chains = Chains(step, JobLayout(plan, 1).passes[0], 0, Clerk())
    block = step.domain.block(0)
    (identity,) = chains.regions(0, block, 0)
    (other,) = chains.regions(0, block, 1)
    assert (identity.shape, identity.strides) == ((1, 3), (0, 0))
    assert (other.shape, other.strides) == ((1, 3), (24, 8))
