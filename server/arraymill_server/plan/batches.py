"""Which passes have several of their blocks computed by one task.

A block of 4 MiB that lies in memory already is summed in 0.5 ms, and costs the server's event loop a quarter of that:
for its task, the reply and the merge. Where nothing has to be waited for between blocks, BATCH of them are one task,
which merges its partials itself, in the order in which the server would (`absorb`). So no bit depends on it.
"""

from __future__ import annotations

from typing import Final

from arraymill_server.plan.domain import Domain
from arraymill_server.plan.model import Fixed, Kept, PassPlan, ReducePlan
from arraymill_server.plan.workspace import is_chained

BATCH: Final = 4
"""Blocks of a batch: 2 ms of a sum. Longer ones would keep others waiting, and workers idle at the end."""

LEAST_BATCHES: Final = 4
"""A pass of fewer batches keeps its blocks apart: every worker shall have some, and all end together."""

PARTIAL_BYTES: Final = 16 << 10
"""Largest partial that a batch merges: larger ones are worth a task of their own."""

MAX_STEPS: Final = 6

# fmt: off
QUICK: Final = frozenset({
    "add", "subtract", "multiply", "negative", "positive", "absolute", "square", "sqrt", "maximum", "minimum",
    "conjugate", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "invert",
    "where", "clip", "astype", "real", "imag", "isnan", "isfinite",
})
# fmt: on
"""Operations of which a batch takes some milliseconds. Others take 10 to 100 times as long: each is worth a task."""


def batch_of(plan: PassPlan) -> int:
    """Return how many blocks of a pass one task computes."""
    if (
        len(plan.domain) < LEAST_BATCHES * BATCH
        or len(plan.stages) != 1
        or plan.scans
        or not all(isinstance(operand.source, Fixed | Kept) for operand in plan.operands)
        or not all(store.result.whole for store in plan.stores)
        or not all(_is_one_tree(reduction, plan.domain) for reduction in plan.reductions)
    ):
        return 1
    steps = plan.stages[0].program.steps
    return BATCH if len(steps) <= MAX_STEPS and all(step.op in QUICK for step in steps) else 1


def _is_one_tree(reduction: ReducePlan, domain: Domain) -> bool:
    """Tell whether all blocks are merged into one small partial, pair by pair."""
    one_cell = reduction.blocks_per_cell == len(domain)
    return one_cell and not is_chained(reduction) and reduction.part_bytes <= PARTIAL_BYTES
