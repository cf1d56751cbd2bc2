"""NumPy's own functions on expressions: what `__array_ufunc__` and `__array_function__` do.

A function that the catalogue does not have raises TypeError and names itself: nothing is ever computed or transferred
behind the caller's back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Final, TypeAlias

import numpy as np

from arraymill._expression import Applied, Lazy, apply, apply_parts, expression_of
from arraymill_proto.catalogue import OPERATIONS

Answer: TypeAlias = tuple[Applied, ...]
"""One node, or one per result of a ufunc of two results."""

_REDUCE: Final = {
    "add": "sum",
    "multiply": "prod",
    "minimum": "min",
    "maximum": "max",
    "logical_and": "all",
    "logical_or": "any",
}
_ACCUMULATE: Final = {"add": "cumsum", "multiply": "cumprod"}

_SPELLINGS: Final = {"amin": "min", "amax": "max", "around": "round", "fix": "trunc"}
"""NumPy's other names for functions that are not ufuncs; for ufuncs, NumPy itself knows."""

_INEXACT_POWERS: Final[Mapping[object, str]] = {-1: "reciprocal", 0.5: "sqrt", 1: "positive", 2: "square"}
_INTEGER_POWERS: Final[Mapping[object, str]] = {1: "positive", 2: "square"}
_POWERS: Final[Mapping[tuple[str, type], Mapping[object, str]]] = {
    **dict.fromkeys([("f", int), ("f", float), ("c", int), ("c", float)], _INEXACT_POWERS),
    **dict.fromkeys([("i", int), ("u", int)], _INTEGER_POWERS),
    ("b", int): {2: "square"},
}
"""By kind of dtype and type of exponent."""


def canonical(name: str) -> str:
    """Return the catalogue's name of an operation: `abs` is `absolute`, `amax` is `max`."""
    if name in OPERATIONS:
        return name
    function = getattr(np, name, None)
    return function.__name__ if isinstance(function, np.ufunc) else _SPELLINGS.get(name, name)


def power(base: Lazy, exponent: object) -> Applied:
    """Apply the operator **, which takes exact short cuts for some Python scalars, unlike np.power.

    NumPy's scalars take none; it shows in the dtype of a boolean only.
    """
    type_ = expression_of(base).type
    short_cuts = _POWERS.get((type_.dtype.kind, type(exponent))) if type_.ndim else None
    name = short_cuts.get(exponent) if short_cuts else None  # other exponents need not be hashable
    return apply("power", (base, exponent), {}) if name is None else apply(name, (base,), {})


def on_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[object], kwargs: Mapping[str, Any]) -> Answer:
    """Apply a ufunc or its reduce or accumulate method.

    Raises:
        TypeError: The ufunc, its method or a keyword has no counterpart.
        ArraymillError: What NumPy would raise for these operands.
    """
    name = ufunc.__name__
    if getattr(np, name, None) is not ufunc:
        raise _not_computed(name)
    if name not in OPERATIONS:
        raise _not_computed(f"np.{name}")
    given = dict(kwargs)
    if given.pop("out", None) is not None:
        raise TypeError(f"np.{name}: an expression cannot be written into out=; use compute(expression, out=array)")
    if method == "__call__":
        if given.pop("where", True) is not True:
            raise TypeError(f"np.{name}: where= leaves elements undefined; use np.where(condition, result, other)")
        _refuse(f"np.{name}", given, ("dtype",))
        return apply_parts(name, tuple(inputs), given)
    target = {"reduce": _REDUCE, "accumulate": _ACCUMULATE}.get(method, {}).get(name)
    if target is None:
        raise _not_computed(f"np.{name}.{method}")
    _refuse(f"np.{name}.{method}", given, ("axis", "dtype", "keepdims", "initial", "where"))
    return (apply(target, tuple(inputs), {"axis": 0, **given}),)


def on_function(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Apply a NumPy function.

    Returns:
        A node, or a plain value (of np.shape and its like).

    Raises:
        TypeError: The function or a keyword has no counterpart.
        ArraymillError: What NumPy would raise for these operands.
    """
    handler = _FUNCTIONS.get(function)
    if handler is None:
        raise _not_computed(f"{function.__module__}.{function.__name__}".replace("numpy.", "np."))
    return handler(function, args, kwargs)


def _not_computed(name: str) -> TypeError:
    return TypeError(
        f"{name} is not computed by arraymill: compute the expression first, then use {name} on the result"
    )


def _refuse(name: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = sorted(set(given).difference(known))
    if unknown:
        raise TypeError(f"{name}: the keyword {unknown[0]}= is not supported on expressions")


def _bind(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given arguments by NumPy's own names for them."""
    given = dict(signature(function).bind(*args, **kwargs).arguments)
    if given.pop("out", None) is not None:
        raise TypeError(
            f"np.{function.__name__}: an expression cannot be written into out=; use compute(expression, out=array)"
        )
    return given


def _reduce(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Applied:
    given = _bind(function, args, kwargs)
    if given.pop("mean", None) is not None:
        raise TypeError(f"np.{function.__name__}: the keyword mean= is not supported on expressions")
    if "correction" in given:
        given["ddof"] = given.pop("correction")
    return apply(canonical(function.__name__), (given.pop("a"),), given)


def _clip(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Applied:
    given = _bind(function, args, kwargs)
    _refuse("np.clip", given.pop("kwargs", {}), ())
    low = given.get("min", given.get("a_min"))
    high = given.get("max", given.get("a_max"))
    return apply("clip", (given["a"],), {"min": low, "max": high})


def _where(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Applied:
    if len(args) != 3:
        raise _not_computed("np.where of one argument")
    return apply("where", tuple(args), {})


def _astype(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Applied:
    given = _bind(function, args, kwargs)
    return apply("astype", (given["x"],), {"dtype": given["dtype"]})


def _elementwise(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Applied:
    first, *params = _bind(function, args, kwargs).items()
    return apply(canonical(function.__name__), (first[1],), dict(params))


def _describe(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Answer what needs no values by asking NumPy about an array of the same type that has no memory."""
    return function(*map(_stand_in, args), **{name: _stand_in(value) for name, value in kwargs.items()})


def _stand_in(value: Any) -> Any:
    if not isinstance(value, Lazy):
        return value
    type = expression_of(value).type
    return np.broadcast_to(np.zeros((), type.dtype), type.shape)


_FUNCTIONS: Final[dict[Callable[..., Any], Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]]] = {
    **dict.fromkeys([np.sum, np.prod, np.mean, np.var, np.std, np.min, np.max, np.amin, np.amax, np.ptp], _reduce),
    **dict.fromkeys([np.argmin, np.argmax, np.any, np.all, np.count_nonzero, np.cumsum, np.cumprod], _reduce),
    **dict.fromkeys([np.round, np.around, np.real, np.imag, np.fix], _elementwise),
    **dict.fromkeys([np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.result_type], _describe),
    np.clip: _clip,
    np.where: _where,
    **({np.astype: _astype} if hasattr(np, "astype") else {}),  # NumPy 2.1
}
