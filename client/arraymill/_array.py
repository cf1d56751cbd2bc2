"""The lazy Array: NumPy's operators, methods and functions build an expression; nothing is computed or sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from arraymill._expression import (
    Applied,
    Lazy,
    Stored,
    apply,
    apply_parts,
    describe,
    is_operand,
    local,
)
from arraymill._numpy import on_function, on_ufunc, power
from arraymill._slicing import Key, take
from arraymill_proto.graph import ArrayType, Shape

Axis: TypeAlias = int | tuple[int, ...] | None
"""The axis or axes to reduce; None for all."""

Scalar: TypeAlias = bool | int | float | complex | np.generic
"""A number: a Python scalar adapts to the dtype beside it (NEP 50), a NumPy scalar does not."""

Operand: TypeAlias = "Array | NDArray[Any] | Scalar | list[Any] | tuple[Any, ...]"
"""What operators and functions accept beside an Array."""


def _binary(name: str, reflected: bool = False) -> Callable[[Array, Operand], Array]:
    def operator(self: Array, other: Operand) -> Array:
        if not is_operand(other):
            return cast("Array", NotImplemented)
        return Array(apply(name, (other, self) if reflected else (self, other), {}))

    return operator


def _unary(name: str) -> Callable[[Array], Array]:
    def operator(self: Array) -> Array:
        return Array(apply(name, (self,), {}))

    return operator


def _divided(reflected: bool = False) -> Callable[[Array, Operand], tuple[Array, Array]]:
    def operator(self: Array, other: Operand) -> tuple[Array, Array]:
        if not is_operand(other):
            return cast("tuple[Array, Array]", NotImplemented)
        quotient, remainder = apply_parts("divmod", (other, self) if reflected else (self, other), {})
        return Array(quotient), Array(remainder)

    return operator


_equal, _not_equal = _binary("equal"), _binary("not_equal")


class Array(Lazy):
    """An expression that has the shape and dtype of its value, but not the value.

    Made by `asarray`, by operators and NumPy functions on other Arrays, or as a `Handle` of an array on the server.
    Immutable; its nodes are shared, and computed once per job. `compute` gives the value. Errors are NumPy's, and come
    where the expression is written.
    """

    __slots__ = ("__weakref__",)

    @property
    def shape(self) -> Shape:
        """Length of each axis."""
        return self._expression.type.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the elements of the value, in native byte order."""
        return self._expression.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._expression.type.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._expression.type.size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._expression.type.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return self._expression.type.nbytes

    __add__, __radd__ = _binary("add"), _binary("add", reflected=True)
    __sub__, __rsub__ = _binary("subtract"), _binary("subtract", reflected=True)
    __mul__, __rmul__ = _binary("multiply"), _binary("multiply", reflected=True)
    __truediv__, __rtruediv__ = _binary("divide"), _binary("divide", reflected=True)
    __floordiv__, __rfloordiv__ = _binary("floor_divide"), _binary("floor_divide", reflected=True)
    __mod__, __rmod__ = _binary("remainder"), _binary("remainder", reflected=True)
    __rpow__ = _binary("power", reflected=True)
    __and__, __rand__ = _binary("bitwise_and"), _binary("bitwise_and", reflected=True)
    __or__, __ror__ = _binary("bitwise_or"), _binary("bitwise_or", reflected=True)
    __xor__, __rxor__ = _binary("bitwise_xor"), _binary("bitwise_xor", reflected=True)
    __lshift__, __rlshift__ = _binary("left_shift"), _binary("left_shift", reflected=True)
    __rshift__, __rrshift__ = _binary("right_shift"), _binary("right_shift", reflected=True)
    __lt__, __le__ = _binary("less"), _binary("less_equal")
    __gt__, __ge__ = _binary("greater"), _binary("greater_equal")
    __neg__, __pos__ = _unary("negative"), _unary("positive")
    __abs__, __invert__ = _unary("absolute"), _unary("invert")

    # As for ndarray, comparison gives an Array, which is neither a bool nor hashable.
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: Operand) -> Array:  # type: ignore[override]
        return _equal(self, other)

    def __ne__(self, other: Operand) -> Array:  # type: ignore[override]
        return _not_equal(self, other)

    def __pow__(self, exponent: Operand) -> Array:
        """Raise to a power; NumPy's operator takes the exact short cuts that np.power does not."""
        if not is_operand(exponent):
            return cast("Array", NotImplemented)
        return Array(power(self, exponent))

    __divmod__, __rdivmod__ = _divided(), _divided(reflected=True)

    def __matmul__(self, other: object) -> NoReturn:
        raise TypeError("matrix products are not computed by arraymill: compute the expression first, then use @")

    __rmatmul__ = __matmul__

    def __getitem__(self, key: Key | tuple[Key, ...]) -> Array:
        """Slice a local array (a view) or a handle (only the slice will travel or be read).

        Args:
            key: Integers, slices and an ellipsis, as NumPy's basic indexing.

        Raises:
            IndexError: An index is out of bounds, or there are too many.
            TypeError: No basic slicing, or this is neither a local array nor a handle.
        """
        return Array(take(self._expression, key))

    def sum(
        self,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
    ) -> Array:
        """Sum of elements, as np.sum."""
        return self._reduce("sum", axis=axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)

    def prod(
        self,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
    ) -> Array:
        """Product of elements, as np.prod."""
        return self._reduce("prod", axis=axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)

    def mean(
        self, axis: Axis = None, *, dtype: DTypeLike | None = None, keepdims: bool = False, where: Operand = True
    ) -> Array:
        """Arithmetic mean, as np.mean."""
        return self._reduce("mean", axis=axis, dtype=dtype, keepdims=keepdims, where=where)

    def var(
        self,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        where: Operand = True,
    ) -> Array:
        """Variance, divided by n - ddof, as np.var."""
        return self._reduce("var", axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=where)

    def std(
        self,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        where: Operand = True,
    ) -> Array:
        """Standard deviation, the square root of the variance, as np.std."""
        return self._reduce("std", axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=where)

    def min(
        self, axis: Axis = None, *, keepdims: bool = False, initial: Scalar | None = None, where: Operand = True
    ) -> Array:
        """Least element, as np.min."""
        return self._reduce("min", axis=axis, keepdims=keepdims, initial=initial, where=where)

    def max(
        self, axis: Axis = None, *, keepdims: bool = False, initial: Scalar | None = None, where: Operand = True
    ) -> Array:
        """Greatest element, as np.max."""
        return self._reduce("max", axis=axis, keepdims=keepdims, initial=initial, where=where)

    def ptp(self, axis: Axis = None, *, keepdims: bool = False) -> Array:
        """Greatest minus least element, as np.ptp."""
        return self._reduce("ptp", axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Array:
        """Index of the first least element, as np.argmin."""
        return self._reduce("argmin", axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Array:
        """Index of the first greatest element, as np.argmax."""
        return self._reduce("argmax", axis=axis, keepdims=keepdims)

    def any(self, axis: Axis = None, *, keepdims: bool = False, where: Operand = True) -> Array:
        """Whether some element is true, as np.any."""
        return self._reduce("any", axis=axis, keepdims=keepdims, where=where)

    def all(self, axis: Axis = None, *, keepdims: bool = False, where: Operand = True) -> Array:
        """Whether every element is true, as np.all."""
        return self._reduce("all", axis=axis, keepdims=keepdims, where=where)

    def count_nonzero(self, axis: Axis = None, *, keepdims: bool = False) -> Array:
        """Number of elements other than zero, as np.count_nonzero."""
        return self._reduce("count_nonzero", axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Array:
        """Sums of all elements up to each, as np.cumsum; of the flattened array for axis=None."""
        return self._reduce("cumsum", axis=axis, dtype=dtype)

    def cumprod(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Array:
        """Products of all elements up to each, as np.cumprod; of the flattened array for axis=None."""
        return self._reduce("cumprod", axis=axis, dtype=dtype)

    def clip(self, min: Operand | None = None, max: Operand | None = None) -> Array:
        """Hold the elements between min and max, as np.clip."""
        return Array(apply("clip", (self,), {"min": min, "max": max}))

    def astype(self, dtype: DTypeLike) -> Array:
        """Cast the elements, as ndarray.astype."""
        return Array(apply("astype", (self,), {"dtype": np.dtype(dtype)}))

    def round(self, decimals: int = 0) -> Array:
        """Round to so many decimals, ties to even, as np.round."""
        return Array(apply("round", (self,), {"decimals": decimals}))

    conjugate = conj = _unary("conjugate")

    @property
    def real(self) -> Array:
        """The real part."""
        return Array(apply("real", (self,), {}))

    @property
    def imag(self) -> Array:
        """The imaginary part; zeros for real dtypes."""
        return Array(apply("imag", (self,), {}))

    def _reduce(self, name: str, **params: object) -> Array:
        return Array(apply(name, (self,), params))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **kwargs: Any) -> Any:
        if not all(map(is_operand, inputs)):
            return NotImplemented
        first, *more = map(Array, on_ufunc(ufunc, method, inputs, kwargs))
        return (first, *more) if more else first

    def __array_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        answer = on_function(func, args, kwargs)
        return Array(answer) if isinstance(answer, Applied) else answer

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        raise TypeError("an Array has no values yet, and none are transferred silently: use compute(array)")

    def __bool__(self) -> bool:
        raise TypeError("the truth value of an Array is not known before compute(array)")

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an Array without dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        raise TypeError("an Array cannot be iterated over: use compute(array), or slice it")

    def __repr__(self) -> str:
        return f"<Array {self.shape} {self.dtype} {describe(self._expression)}>"


class Handle(Array):
    """An array that the server keeps; an Array as any other.

    Slices of it are Arrays that read or transfer only the slice. The server deletes the array on `delete`, or when
    its time to live has passed since its last use.

    Attributes:
        id: The server's id of the array.
        name: The name it was given, or empty.
    """

    __slots__ = ("id", "name")

    def __init__(self, id: str, type: ArrayType, name: str = "") -> None:
        super().__init__(Stored(type, id, type.shape))
        self.id = id
        self.name = name

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<Handle{name} id={self.id} {self.shape} {self.dtype}>"


def asarray(x: Operand) -> Array:
    """Return an Array for data of this process. An ndarray is neither copied nor sent; it is read when computed.

    Args:
        x: An ndarray (any strides, either byte order, memory-mapped too), a number, nested sequences of numbers, or
            an Array, which is returned as it is.

    Raises:
        DTypeError: The dtype is not supported (objects, strings, structured, long double, dates, masked arrays).
        ShapeError: More than 32 dimensions.
    """
    return x if isinstance(x, Array) else Array(local(np.asanyarray(x)))
