"""Shape rules that client and server share: NumPy's, with errors that give the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import index

from arraymill_proto.errors import AxisError, ParameterError, ShapeError
from arraymill_proto.graph import Shape
from arraymill_proto.limits import MAX_BYTES, MAX_DIMENSIONS, MAX_ELEMENTS, shorten


def check_shape(shape: Shape, itemsize: int) -> None:
    """Refuse shapes that no array can have.

    Empty arrays are measured without their zeros, as NumPy does: no shape has absurd strides.

    Raises:
        ShapeError: Too many dimensions, a negative one, or too many elements or bytes.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ShapeError(
            f"an array of {len(shape)} dimensions: at most {MAX_DIMENSIONS} are supported", ndim=len(shape)
        )
    count = 1
    for length in shape:
        if length < 0:
            raise ShapeError(f"shape {shape} has a negative dimension", shape=shape)
        count *= length or 1
    if count > MAX_ELEMENTS or count * itemsize > MAX_BYTES:
        raise ShapeError(
            f"shape {shorten(str(shape))} with {itemsize} bytes per element is too big: at most 2**62 elements and "
            f"2**63 - 1 bytes, dimensions of length 0 not counted",
            shape=shorten(str(shape)),
        )


def normalise_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes that `axis` means, ascending and none negative; None means all.

    As in NumPy, an int 0 or -1 is let through for an array without dimensions and means no axis.

    Raises:
        AxisError: An axis is out of range or named twice.
        ParameterError: An axis is not an integer.
    """
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, Sequence):
        # An array without dimensions is measured as one of one dimension, which then is not there to reduce.
        number = _normalise(axis, ndim or 1)
        return (number,) if ndim else ()
    if len(axis) > MAX_DIMENSIONS:
        raise AxisError(f"{len(axis)} axes are given: an array has at most {MAX_DIMENSIONS}", ndim=ndim)
    axes = sorted(_normalise(one, ndim) for one in axis)
    for left, right in pairwise(axes):
        if left == right:
            raise AxisError(f"duplicate value in 'axis': {tuple(axis)} names axis {left} twice", axis=left, ndim=ndim)
    return tuple(axes)


def _normalise(axis: int, ndim: int) -> int:
    try:
        number = index(axis)
    except TypeError:
        number = None
    if number is None or isinstance(axis, bool):
        raise ParameterError(
            f"axis must be an integer, a tuple of integers or None, not {shorten(repr(axis))}", parameter="axis"
        )
    if not -ndim <= number < ndim:
        raise AxisError(
            f"axis {number} is out of bounds for array of dimension {ndim}", axis=number, ndim=ndim, parameter="axis"
        )
    return number % ndim


def broadcast_shapes(*shapes: Shape) -> Shape:
    """Return the shape to which all shapes broadcast.

    Raises:
        ShapeError: They do not broadcast.
    """
    first = shapes[0] if shapes else ()
    if all(shape == first for shape in shapes):
        return first
    result = [1] * max(map(len, shapes))
    for shape in shapes:
        lead = len(result) - len(shape)
        for position, length in enumerate(shape, lead):
            if length != result[position] and length != 1:
                if result[position] != 1:
                    raise _unbroadcastable(shapes)
                result[position] = length
    return tuple(result)


def _unbroadcastable(shapes: Sequence[Shape]) -> ShapeError:
    listed = " ".join(map(str, shapes))
    return ShapeError(f"operands could not be broadcast together with shapes {listed}", shapes=shorten(listed))


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool = False) -> Shape:
    """Return the shape of `shape` reduced over normalised `axes`."""
    if keepdims:
        return tuple(1 if axis in axes else length for axis, length in enumerate(shape))
    return tuple(length for axis, length in enumerate(shape) if axis not in axes)
