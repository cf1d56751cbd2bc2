"""The many ways in which one and the same job may run, and what all of them must answer."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

from hypothesis import strategies as st
from strategies import Array

from arraymill_proto.graph import Graph
from arraymill_server.plan import absorb, carry, domain, planner, workspace
from arraymill_server.plan.blocks import PIECE_BYTES
from arraymill_server.plan.planner import PlanLimits
from arraymill_server.testing.simulate import simulate

_NO_ARRAYS: Final[Mapping[int, Array]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Way:
    """How a job runs. The defaults are the product's; what a test makes small brings the paths of large arrays."""

    seed: int | None = None
    """Of the order in which instructions end; None: the order in which they began."""
    depth: int = 3
    block_elements: int | None = None
    piece_bytes: int = PIECE_BYTES
    hold_bytes: int = 1 << 30
    constants: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Bounds of the planner and its machine, by name."""
    is_watched: bool = True
    """True: every access to memory is checked, which takes long with large arrays."""

    @contextmanager
    def applied(self) -> Generator[PlanLimits]:
        """Put the constants in place."""
        with ExitStack() as stack:
            for name, value in self.constants.items():
                for module in _BOUNDS[name]:
                    stack.enter_context(patch.object(module, name, value))
            yield PlanLimits(hold_bytes=self.hold_bytes, block_elements=self.block_elements)

    def run(self, graph: Graph, arrays: Sequence[Array], residents: Mapping[int, Array] = _NO_ARRAYS) -> list[Array]:
        """Plan a graph and simulate the job."""
        random = None if self.seed is None else Random(self.seed)
        with self.applied() as limits:
            return simulate(
                graph,
                arrays,
                residents=residents,
                limits=limits,
                depth=self.depth,
                random=random,
                piece_bytes=self.piece_bytes,
                is_watched=self.is_watched,
            )


_BOUNDS: Final[dict[str, tuple[Any, ...]]] = {
    "INLINE_BYTES": (absorb, carry),
    "WHOLE_RESULT_BYTES": (planner,),
    "CHAIN_BYTES": (workspace,),
    "OPEN_CELL_BYTES": (domain,),
    "FINISH_BUFFERS": (workspace,),
}
"""The modules that know each bound."""

_SMALL: Final = {
    "INLINE_BYTES": -1,
    "WHOLE_RESULT_BYTES": 0,
    "CHAIN_BYTES": 0,
    "OPEN_CELL_BYTES": 0,
    "FINISH_BUFFERS": 1,
}
"""Values that bring the paths of large results: every merge is dispatched, no result is collected, partials are merged
in a chain, blocks come cell by cell, and a part of a result waits for the one before it."""


def ways(*, one_block: bool = True) -> st.SearchStrategy[Way]:
    """Any way; with several blocks in any case unless `one_block`."""
    sizes = st.integers(1, 7) | st.none() if one_block else st.integers(1, 7)
    return st.builds(
        Way,
        seed=st.none() | st.integers(0, 99),
        depth=st.integers(1, 9),
        block_elements=sizes,
        piece_bytes=st.sampled_from([PIECE_BYTES, 64, 16]),
        hold_bytes=st.sampled_from([1 << 30, 0]),
        constants=st.sets(st.sampled_from(sorted(_SMALL))).map(lambda names: {name: _SMALL[name] for name in names}),
    )
