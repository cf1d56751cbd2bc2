"""Basic slicing of leaves: views of local arrays, and slices of resident ones that compose without any traffic."""

from __future__ import annotations

from operator import index
from types import EllipsisType
from typing import SupportsIndex, TypeAlias

from arraymill._expression import Expression, Local, Stored
from arraymill_proto.graph import ArrayType, Shape, Slice

Key: TypeAlias = SupportsIndex | slice | EllipsisType
"""One entry of a basic index."""


def take(expression: Expression, key: Key | tuple[Key, ...]) -> Expression:
    """Slice a leaf.

    Raises:
        IndexError: An index is out of bounds, or there are too many.
        TypeError: The key is not basic slicing, or the expression is not a leaf.
    """
    if isinstance(expression, Local):
        view = expression.data[(*_expand(key, expression.type.ndim), ...)]
        return Local(ArrayType(view.shape, expression.type.dtype), view)
    if isinstance(expression, Stored):
        return _slice_stored(expression, _expand(key, expression.type.ndim))
    raise TypeError(
        f"only arrays and handles can be sliced, this is the result of {expression.name}: "
        "slice its operands, or compute it first"
    )


def _expand(key: Key | tuple[Key, ...], ndim: int) -> list[int | slice]:
    """Return one entry per leading axis, the ellipsis spelled out."""
    keys = key if isinstance(key, tuple) else (key,)
    given = len(keys) - sum(entry is Ellipsis for entry in keys)
    if len(keys) - given > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if given > ndim:
        raise IndexError(f"too many indices: the array is {ndim}-dimensional, but {given} were indexed")
    expanded: list[int | slice] = []
    for entry in keys:
        if entry is Ellipsis:
            expanded.extend([slice(None)] * (ndim - given))
        else:
            expanded.append(_entry(entry))
    return expanded


def _entry(entry: Key) -> int | slice:
    if isinstance(entry, slice):
        return entry
    try:
        if isinstance(entry, bool):
            raise TypeError
        return index(entry)  # type: ignore[arg-type]  # what is no index raises here
    except TypeError:
        raise TypeError(
            f"only integers, slices and an ellipsis can index, not {type(entry).__name__}: index the ndarray itself"
        ) from None


def _slice_stored(stored: Stored, keys: list[int | slice]) -> Stored:
    current = [*stored.slices, *(Slice(0, 1, length) for length in stored.whole[len(stored.slices) :])]
    visible = [axis for axis, entry in enumerate(current) if not entry.drop]
    for place, key in enumerate(keys):
        axis = visible[place]
        current[axis] = _compose(current[axis], key, place)
    shape = tuple(entry.length for entry in current if not entry.drop)
    return Stored(ArrayType(shape, stored.type.dtype), stored.id, stored.whole, _trimmed(current, stored.whole))


def _compose(entry: Slice, key: int | slice, place: int) -> Slice:
    """Return the slice that takes `key` of what `entry` takes."""
    if isinstance(key, slice):
        start, stop, step = key.indices(entry.length)
        length = len(range(start, stop, step))
        if length == 0:
            return Slice(0, 1, 0)
        return Slice(entry.start + start * entry.step, entry.step * step if length > 1 else 1, length)
    if not -entry.length <= key < entry.length:
        raise IndexError(f"index {key} is out of bounds for axis {place} with size {entry.length}")
    return Slice(entry.start + key % entry.length * entry.step, 1, 1, drop=True)


def _trimmed(slices: list[Slice], whole: Shape) -> tuple[Slice, ...]:
    """Leave out the trailing axes that are taken whole."""
    count = len(slices)
    while count and slices[count - 1] == Slice(0, 1, whole[count - 1]):
        count -= 1
    return tuple(slices[:count])
