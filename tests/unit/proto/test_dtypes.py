"""The dtype table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes

from arraymill_proto.dtypes import CODES, SUPPORTED, DType, from_code, is_big_endian, is_supported, native, to_code
from arraymill_proto.errors import DTypeError
from arraymill_proto.v1 import arraymill_pb2 as pb

UNSUPPORTED = ["O", "U3", "S3", "M8[s]", "m8[s]", "V8", [("a", "f8")], "(2,)f8", np.longdouble, np.clongdouble]


def test_codes_are_those_of_the_contract() -> None:
    named = {pb.DType.Name(code): code for code in CODES}
    assert named == {key: code for key, code in pb.DType.items() if code != pb.DTYPE_UNSPECIFIED}
    assert {name.lower(): CODES[code] for name, code in named.items()} == {str(dtype): dtype for dtype in SUPPORTED}


@given(dtypes())
def test_a_dtype_survives_the_wire(dtype: DType) -> None:
    assert from_code(to_code(dtype), is_big_endian(dtype)) == dtype
    assert is_supported(dtype)


@given(dtypes())
def test_native_dtypes_have_this_machines_byte_order(dtype: DType) -> None:
    assert native(dtype).isnative
    assert native(dtype) == dtype.newbyteorder("=")
    assert native(native(dtype)) is native(dtype)


@pytest.mark.parametrize("code", "bhilqBHILQefdFD?")
def test_c_types_are_known_by_their_size(code: str) -> None:
    assert native(code).str == np.dtype(code).str


@pytest.mark.parametrize("dtype", UNSUPPORTED, ids=str)
def test_refuses_other_dtypes_and_names_the_supported(dtype: str) -> None:
    assert not is_supported(dtype)
    for refusing in (to_code, native):
        with pytest.raises(DTypeError, match=r"is not supported; supported are bool, int8, .*complex128") as caught:
            refusing(dtype)
        assert isinstance(caught.value, TypeError)


def test_a_long_dtype_is_not_echoed_in_full() -> None:
    with pytest.raises(DTypeError) as caught:
        to_code(np.dtype([(f"field{number}", "f8") for number in range(1000)]))
    assert len(str(caught.value)) < 400


@given(st.integers().filter(lambda code: code not in CODES))
def test_refuses_unknown_codes(code: int) -> None:
    with pytest.raises(DTypeError, match=f"code {code} is unknown: the codes are 1 to 14"):
        from_code(code)
