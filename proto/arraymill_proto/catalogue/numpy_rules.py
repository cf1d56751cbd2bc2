"""dtype rules, asked of NumPy itself.

NumPy is called on arrays without elements (or with a single zero), so its rules hold by construction: promotion, weak
Python scalars, undefined loops, integers that do not fit. Answers are memoised per operation, dtypes and parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from arraymill_proto.catalogue.signature import Known
from arraymill_proto.dtypes import DType, native
from arraymill_proto.errors import (
    ArraymillError,
    ComputationError,
    DTypeError,
    IntegerOverflowError,
    ParameterError,
)
from arraymill_proto.limits import shorten

_OBJECT = np.dtype(np.object_)
"""What NumPy computes in for Python integers beyond 64 bits; then its answer is a Python object."""

_MEMO = 4096
"""Answers kept: all 14 × 14 pairs of dtypes of some twenty operations, about 2 MB."""


@lru_cache(_MEMO, typed=True)
def ufunc_dtype(name: str, dtype: DType | None, part: int, *known: Known) -> DType:
    """Return the dtype of the result of a ufunc; of output `part` where it has two.

    Raises:
        DTypeError: The ufunc is not defined for these dtypes.
        IntegerOverflowError: A Python integer does not fit the dtype beside it.
        ComputationError: All operands are constants, and NumPy refuses their values.
    """
    ufunc: np.ufunc = getattr(np, name)
    with _as_arraymill_errors(known, dtype):
        answer = ufunc(*map(_sample, known), **({} if dtype is None else {"dtype": dtype}))
    result = answer[part] if ufunc.nout > 1 else answer
    return native(getattr(result, "dtype", _OBJECT))


@lru_cache(_MEMO, typed=True)
def function_dtype(name: str, decimals: int, *known: Known | None) -> DType:
    """Return the dtype of clip, where, real, imag or round (with `decimals`). None: an absent bound of clip."""
    function: Callable[..., Any] = getattr(np, name)
    samples = [None if one is None else _sample(one) for one in known]
    if name == "where":
        samples[0] = np.empty(0, np.bool_)
    with _as_arraymill_errors([one for one in known if one is not None], None):
        answer = function(*samples, **({"decimals": decimals} if name == "round" else {}))
    return native(np.asarray(answer).dtype)


@lru_cache(_MEMO, typed=True)
def reduction_dtype(name: str, source: DType, dtype: DType | None, initial: Known | None) -> DType:
    """Return the dtype of a reduction or scan of an array of dtype `source`.

    Raises:
        DTypeError: It is not defined for the dtype.
        IntegerOverflowError: `initial` is a Python integer that does not fit.
        ParameterError: NumPy refuses the value of `initial`.
    """
    function: Callable[..., Any] = getattr(np, name)
    given = {"dtype": dtype, "initial": initial}
    with _as_arraymill_errors([source], dtype), _no_complex_warning(source, initial):
        answer = function(
            np.zeros(1, native(source)), **{key: value for key, value in given.items() if value is not None}
        )
    return native(np.asarray(answer).dtype)


def _sample(known: Known) -> Any:
    """Return a stand-in: no elements of a dtype, a constant itself."""
    if isinstance(known, np.dtype):
        return np.empty(0, native(known))
    return known


@contextmanager
def _as_arraymill_errors(known: Sequence[Known], dtype: DType | None) -> Generator[None, None, None]:
    """Turn what NumPy raises into the errors of arraymill; silence its floating-point warnings."""
    try:
        with np.errstate(all="ignore"):
            yield
    except ArraymillError:
        raise
    except OverflowError as exc:
        raise IntegerOverflowError(str(exc)) from exc
    except TypeError as exc:
        given = "" if dtype is None else f" with dtype={dtype}"
        raise DTypeError(f"not defined for {describe(known)}{given}: {exc}") from exc
    except ValueError as exc:
        if any(isinstance(one, np.dtype) for one in known):
            raise ParameterError(str(exc)) from exc
        raise ComputationError(str(exc)) from exc


@contextmanager
def _no_complex_warning(source: DType, initial: Known | None) -> Generator[None, None, None]:
    """Silence the warning that an imaginary part is dropped: the kernels' cast, not this question, gives it."""
    if source.kind == "c" or isinstance(initial, np.complexfloating):
        # Filters are global to the process: touched only where NumPy would warn.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            yield
    else:
        yield


def describe(known: Sequence[Known]) -> str:
    """Name dtypes and constants as an error message shows them."""
    return ", ".join(str(one) if isinstance(one, np.dtype) else shorten(repr(one)) for one in known)
