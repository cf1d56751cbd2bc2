"""A simulation finds a machine that is wrong: each test breaks it once."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from plans import floats, graph_of, operation, plan_of

from arraymill_server.plan import absorb, carry
from arraymill_server.plan.absorb import Absorber
from arraymill_server.plan.carry import Chains
from arraymill_server.plan.pass_machine import BlockState, PassMachine
from arraymill_server.plan.workspace import PassLayout
from arraymill_server.testing.simulate import Simulation

X = np.arange(30.0).reshape(10, 3)
SUMS = graph_of(floats(10, 3), operation("sum", 0, axis=1), operation("cumsum", 0, axis=0), outputs=(1, 2))


def simulate(*, is_watched: bool = True) -> None:
    for seed in range(30):
        plan = plan_of(SUMS, block_elements=1)
        sums, scanned = Simulation(plan, [X], random=Random(seed), depth=3, is_watched=is_watched).run()
        np.testing.assert_array_equal(sums, X.sum(1))
        np.testing.assert_array_equal(scanned, X.cumsum(0))


@pytest.fixture(autouse=True)
def everything_is_dispatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absorb, "INLINE_BYTES", -1)
    monkeypatch.setattr(carry, "INLINE_BYTES", -1)
    monkeypatch.setattr("arraymill_server.plan.planner.WHOLE_RESULT_BYTES", 0)


@pytest.mark.parametrize("is_watched", [False, True])
def test_the_machine_as_it_is(is_watched: bool) -> None:
    simulate(is_watched=is_watched)


def test_a_machine_that_gives_slots_up_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    total_ready: Any = Chains.total_ready

    def hasty(self: Chains, *given: Any) -> None:
        *rest, joined = given
        joined()
        total_ready(self, *rest, lambda: None)

    monkeypatch.setattr(Chains, "total_ready", hasty)
    with pytest.raises(AssertionError, match="are free while somebody reads them"):
        simulate()


def test_a_machine_that_does_not_wait_for_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: Absorber, value: bool) -> None: ...

    monkeypatch.setattr(Absorber, "_is_working", property(lambda _: False, forget), raising=False)
    with pytest.raises(AssertionError, match="writes what it, or another one, reads"):
        simulate()


def test_a_layout_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    init = PassLayout.__init__

    def squeeze(self: PassLayout, *args: Any) -> None:
        init(self, *args)
        self.partials = self.finished

    monkeypatch.setattr(PassLayout, "__init__", squeeze)
    with pytest.raises((AssertionError, IndexError)):
        simulate()


def test_a_machine_that_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(self: PassMachine, state: BlockState) -> None: ...

    monkeypatch.setattr(PassMachine, "_release", keep)
    with pytest.raises(AssertionError, match="waits for nothing"):
        simulate(is_watched=False)


def test_bytes_that_were_asked_for_are_counted() -> None:
    plan = plan_of(SUMS, block_elements=2, hold_bytes=0)
    simulation = Simulation(plan, [X])
    simulation.run()
    assert simulation.fetched == [X.nbytes * len(plan.passes)]
