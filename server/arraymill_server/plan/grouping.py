"""Which roots share a pass: those of one level and one domain that read an array in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from arraymill_proto.graph import Shape
from arraymill_server.plan.analyse import Analysis, Root
from arraymill_server.plan.compile import PassGraph
from arraymill_server.plan.domain import Domain


@dataclass(frozen=True, slots=True)
class Draft:
    """A pass before its memory is decided."""

    roots: tuple[Root, ...]
    graph: PassGraph
    domain: Domain

    def with_sequence(self, sequence: tuple[int, ...]) -> Draft:
        return Draft(self.roots, self.graph, self.domain.with_sequence(sequence))


def group_roots(analysis: Analysis) -> list[list[Root]]:
    """Roots that share a pass: same level, same domain, and connected by arrays that they read."""
    masks = _leaf_masks(analysis)
    candidates: dict[tuple[int, Shape], _Candidates] = {}
    for root in analysis.roots:
        reads = analysis.operands(root.node) if root.reduces or root.kept or root.flat else (root.node,)
        candidates.setdefault((root.level, root.domain), _Candidates()).add(
            root, _union(masks[index] for index in reads)
        )
    groups = [sorted(group.members, key=_node) for known in candidates.values() for group in known.groups]
    return sorted(groups, key=lambda group: (group[0].level, group[0].node))


@dataclass(slots=True)
class _Group:
    mask: int
    """What the members read, as bits."""
    members: list[Root]


class _Candidates:
    """The groups of one level and one domain: no two read an array in common."""

    def __init__(self) -> None:
        self.groups: list[_Group] = []
        self._all = 0

    def add(self, root: Root, mask: int) -> None:
        """Put a root into the group with which it shares an array, and join groups that it connects.

        Roots that read nothing, constants, are a group as well.
        """
        fresh = not mask & self._all and mask
        connected = [] if fresh else [group for group in self.groups if group.mask & mask or group.mask == mask]
        self._all |= mask
        if not connected:
            self.groups.append(_Group(mask, [root]))
            return
        home = connected[0]
        for other in connected[1:]:
            home.mask |= other.mask
            home.members += other.members
            self.groups.remove(other)
        home.mask |= mask
        home.members.append(root)


def _node(root: Root) -> int:
    return root.node


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
