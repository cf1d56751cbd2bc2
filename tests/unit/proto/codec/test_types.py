"""Types and slices survive the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, shapes, slices

from arraymill_proto.codec import slice_from_pb, slice_to_pb, type_from_pb, type_to_pb
from arraymill_proto.dtypes import DType
from arraymill_proto.errors import ShapeError
from arraymill_proto.graph import ArrayType, Shape, Slice
from arraymill_proto.v1 import arraymill_pb2 as pb


@given(shapes(), dtypes())
def test_types_survive_the_wire_in_native_byte_order(shape: Shape, dtype: DType) -> None:
    assert type_from_pb(type_to_pb(ArrayType(shape, dtype))) == ArrayType(shape, dtype.newbyteorder("="))


@given(st.integers(0, 9).flatmap(slices))
def test_slices_survive_the_wire(piece: Slice) -> None:
    assert slice_from_pb(slice_to_pb(piece)) == piece


def test_too_many_dimensions_are_refused() -> None:
    with pytest.raises(ShapeError, match="33 dimensions"):
        type_from_pb(pb.ArrayType(dtype=pb.BOOL, shape=[1] * 33))
