"""Which blocks are computed several at a time, by one task.

A block of 4 MiB that lies in memory already is summed in 0.5 ms, and costs the server's event loop a quarter of that:
for its task, the reply and the merge. Where nothing has to be waited for between blocks, some of them are one task,
which merges its partials itself, in the order in which the server would (`absorb`). So no bit depends on it.

What comes from the client is asked for in batches as well, if consecutive blocks are one range of it: a want costs both
sides twice as much as a task. How many blocks depends on the memory that the job got (`workspace.PassLayout`).

A pass begins with its largest batches, and ends with single blocks: workers shall end together.
"""

from __future__ import annotations

from typing import Final

from arraymill_server.plan.domain import Domain, natural
from arraymill_server.plan.model import Operand, PassPlan, ReducePlan, Stream
from arraymill_server.plan.workspace import is_chained

MAX_BATCH: Final = 8
"""Blocks of a batch: 4 ms of a sum. Longer ones would keep others waiting."""

MAX_STREAMED: Final = 2
"""Blocks of a batch that comes from the client: 8 MiB. Batches of four were 0 to 5 % faster, and left two workers
without a batch that is received while both compute."""

LEAST_BATCHES: Final = 8
"""A pass of fewer batches has smaller ones, or keeps its blocks apart: with 8 workers each shall have one."""

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
    """Return how many blocks of a pass one task computes at most: a power of two."""
    if (
        len(plan.stages) != 1
        or plan.scans
        or not all(_can_be_batched(operand, plan.domain) for operand in plan.operands)
        or not all(store.result.whole for store in plan.stores)
        or not all(_is_one_tree(reduction, plan.domain) for reduction in plan.reductions)
    ):
        return 1
    steps = plan.stages[0].program.steps
    if len(steps) > MAX_STEPS or not all(step.op in QUICK for step in steps):
        return 1
    batch = MAX_STREAMED if plan.is_streamed else MAX_BATCH
    while batch > 1 and len(plan.domain) < LEAST_BATCHES * batch:
        batch //= 2
    return batch


def batch_at(number: int, plan: PassPlan, most: int) -> int:
    """Return how many blocks from one on are the next batch: whole subtrees of the merge, and half of what is left.

    Args:
        number: The first block.
        plan: The pass.
        most: Blocks that there is memory for.
    """
    batch, left = most, len(plan.domain) - number
    while batch > 1 and (number % batch or left < 2 * batch):
        batch //= 2
    return batch


def _can_be_batched(operand: Operand, domain: Domain) -> bool:
    """Tell whether an operand is there already, or what consecutive blocks read of it is one range of a stream."""
    if not isinstance(operand.source, Stream):
        return True
    is_whole = operand.shape == tuple(domain.shape[axis] for axis in domain.order)
    return is_whole and not operand.source.held and domain.sequence == natural(domain.grid)


def _is_one_tree(reduction: ReducePlan, domain: Domain) -> bool:
    """Tell whether all blocks are merged into one small partial, pair by pair."""
    one_cell = reduction.blocks_per_cell == len(domain)
    return one_cell and not is_chained(reduction) and reduction.part_bytes <= PARTIAL_BYTES
