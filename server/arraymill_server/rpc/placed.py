"""Arrays of a job that lie in memory which its client shares: where they are, checked, and held while the job runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from arraymill_proto.errors import InvalidJobError, ShapeError
from arraymill_proto.graph import Graph, Input, Shape
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.arena.segments import Segment
from arraymill_server.jobs.request import Target
from arraymill_server.plan.model import ResidentView
from arraymill_server.rpc.shared import Held, SharedMemory


@dataclass(slots=True)
class Placed:
    """Where arrays of a job lie. A context that holds them; `hold` them as well as long as a worker may touch them."""

    views: dict[int, ResidentView] = field(default_factory=dict[int, ResidentView])
    """Inputs, by node."""
    targets: tuple[Target, ...] = ()
    """All outputs, or none."""
    held: list[Held] = field(default_factory=list[Held])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self.held:
            self.held.pop().release()

    def hold(self) -> Callable[[], None]:
        """Hold them once more; return what lets go of them."""
        held = ExitStack()
        for each in self.held:
            each.hold()
            held.callback(each.release)
        return held.close


def find_placed(graph: Graph, told: pb.SharedMemory, memory: SharedMemory) -> Placed:
    """Find the inputs that a client has put into its segments, and the room for its outputs.

    Raises:
        InvalidJobError: There is no such input or output, or one is told twice, or not all outputs are.
        ArrayNotFoundError: There is no such segment of this client.
        ShapeError: An array would not lie within it.
    """
    nodes = [index for index, node in enumerate(graph.nodes) if isinstance(node, Input)]
    with ExitStack() as failing:
        placed = failing.enter_context(Placed())
        placed.targets = _targets(graph, told.outputs, memory, placed)
        for each in told.inputs:
            if each.index >= len(nodes) or nodes[each.index] in placed.views:
                raise InvalidJobError(
                    f"input {each.index} in shared memory: the job has {len(nodes)} inputs, each in one place",
                    input=each.index,
                )
            node = graph.nodes[nodes[each.index]]
            assert isinstance(node, Input)
            held = memory.get(each.segment)
            view = _view(held.segment, each.offset, node, tuple(each.strides))
            held.hold()
            placed.held.append(held)
            placed.views[nodes[each.index]] = view
        failing.pop_all()
    return placed


def _targets(graph: Graph, told: Sequence[pb.Placed], memory: SharedMemory, placed: Placed) -> tuple[Target, ...]:
    if told and [each.index for each in told] != list(range(len(graph.outputs))):
        raise InvalidJobError(
            f"{len(told)} outputs in shared memory of a job of {len(graph.outputs)}: give all in their order, or none"
        )
    targets: list[Target] = []
    for each in told:
        held = memory.get(each.segment)
        if each.offset > held.segment.size:
            raise ShapeError(
                f"an output in shared memory would begin at byte {each.offset:,} of {held.segment.size:,}",
                segment_bytes=held.segment.size,
            )
        held.hold()
        placed.held.append(held)
        targets.append(Target(held.segment.address + each.offset, held.segment.size - each.offset))
    return tuple(targets)


def _view(segment: Segment, offset: int, node: Input, strides: Sequence[int]) -> ResidentView:
    check_within(segment, offset, node.shape, strides, node.dtype.itemsize)
    steps = tuple(stride if length > 1 else 0 for length, stride in zip(node.shape, strides, strict=True))
    return ResidentView(segment.address + offset, node.shape, steps, node.dtype)


def check_within(segment: Segment, offset: int, shape: Shape, strides: Sequence[int], itemsize: int) -> None:
    """Check that an array lies within a segment.

    Raises:
        ShapeError: It does not.
    """
    if len(strides) != len(shape):
        raise ShapeError(f"{len(strides)} strides for an array of {len(shape)} dimensions in shared memory")
    end = offset + itemsize + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if 0 in shape:
        end = offset
    if end > segment.size:
        raise ShapeError(
            f"an array in shared memory would end at byte {end:,} of {segment.size:,}", segment_bytes=segment.size
        )
