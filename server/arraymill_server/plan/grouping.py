"""Which roots share a pass: those of one level and one domain that read an array in common."""

from __future__ import annotations

from collections.abc import Iterable

from arraymill_proto.graph import Shape
from arraymill_server.plan.analyse import Analysis, Root


def group_roots(analysis: Analysis) -> list[list[Root]]:
    """Roots that share a pass: same level, same domain, and connected by arrays that they read."""
    masks = _leaf_masks(analysis)
    groups: list[tuple[tuple[int, Shape], int, list[Root]]] = []
    for root in sorted(analysis.roots, key=lambda root: (root.level, root.node)):
        reads = analysis.operands(root.node) if root.reduces or root.kept or root.flat else (root.node,)
        mask = _union(masks[index] for index in reads)
        key = (root.level, root.domain)
        joined = [group for group in groups if group[0] == key and (group[1] & mask or mask == group[1])]
        for group in joined:
            groups.remove(group)
        members = [member for group in joined for member in group[2]] + [root]
        groups.append((key, _union([mask, *(group[1] for group in joined)]), members))
    groups.sort(key=lambda group: (group[0][0], min(root.node for root in group[2])))
    return [sorted(members, key=lambda root: root.node) for _, _, members in groups]


def _leaf_masks(analysis: Analysis) -> list[int]:
    """For each node, the set of arrays that its evaluation reads, as bits."""
    masks: list[int] = []
    for index in range(len(analysis.nodes)):
        if analysis.is_array_leaf(index):
            masks.append(1 << index)
        else:
            masks.append(_union(masks[operand] for operand in analysis.operands(index)))
    return masks


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union
