"""The operations of arraymill: names, parameters, shape and dtype rules. NumPy's, in one table.

`OPERATIONS` is the only list of operations. The client's lazy Array asks it for shapes and dtypes, the server validates
with it, and the server's kernels (`arraymill_server.ops`) carry the same names; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from arraymill_proto.catalogue.elementwise import ELEMENTWISE
from arraymill_proto.catalogue.params import ARRAY_PARAMS, check_params
from arraymill_proto.catalogue.reductions import REDUCTIONS, SCANS
from arraymill_proto.catalogue.shapes import broadcast_shapes, check_shape, normalise_axes, reduced_shape
from arraymill_proto.catalogue.signature import BoundParams, Kind, Operand, Rule, Signature, operand_type
from arraymill_proto.errors import ArraymillError, ParameterError, UnknownOperationError
from arraymill_proto.graph import ArrayType
from arraymill_proto.limits import shorten

__all__ = [
    "ARRAY_PARAMS",
    "OPERATIONS",
    "BoundParams",
    "Kind",
    "Operand",
    "Rule",
    "Signature",
    "broadcast_shapes",
    "check_shape",
    "infer",
    "normalise_axes",
    "operand_type",
    "reduced_shape",
    "signature_of",
]

OPERATIONS: Final[Mapping[str, Signature]] = MappingProxyType(
    {signature.name: signature for signature in [*REDUCTIONS, *SCANS, *ELEMENTWISE]}
)
"""Every operation, by NumPy's name."""

_NO_PARAMS: Final[BoundParams] = MappingProxyType({})


def signature_of(name: str) -> Signature:
    """Return the signature of an operation.

    Raises:
        UnknownOperationError: The catalogue has no such operation; the message names similar ones.
    """
    signature = OPERATIONS.get(name)
    if signature is None:
        short = shorten(name)
        similar = get_close_matches(short, OPERATIONS, n=3)
        hint = f": did you mean {' or '.join(similar)}?" if similar else ""
        raise UnknownOperationError(f"there is no operation {short!r}{hint}", operation=short)
    return signature


def infer(name: str, operands: Sequence[Operand], params: BoundParams = _NO_PARAMS) -> ArrayType:
    """Return the type of an operation's result, by NumPy's rules.

    Args:
        name: The operation.
        operands: What is known of its arguments. Python scalars stay Python scalars: they are weak (NEP 50).
        params: Its parameters; what refers to a node is replaced by what is known of the node.

    Raises:
        ArraymillError: What NumPy would raise, as our class; the message begins with the name of the operation.
            UnknownOperationError, ParameterError, AxisError, ShapeError, DTypeError, IntegerOverflowError,
            ComputationError, InvalidJobError.
    """
    signature = signature_of(name)
    try:
        if not signature.min_args <= len(operands) <= signature.max_args:
            raise ParameterError(f"takes {_count(signature)}, {len(operands)} given")
        if params or signature.required:
            check_params(signature, params)
        return signature.rule(operands, params)
    except ArraymillError as exc:
        raise exc.located(f"{name}: ", operation=name) from exc.__cause__


def _count(signature: Signature) -> str:
    low, high = signature.min_args, signature.max_args
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} argument{'' if high == 1 else 's'}"
