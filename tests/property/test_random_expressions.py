"""Random expressions: graphs of up to a dozen operations, computed by NumPy and as jobs."""

from __future__ import annotations

from typing import Final

import pytest
from growing import Grower
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from ways import Way, ways

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

MOST_NODES: Final = 12


@examples(250)
@given(data=st.data(), count=st.integers(1, MOST_NODES), way=ways())
def test_random_expressions(data: st.DataObject, count: int, way: Way) -> None:
    grower = Grower(data)
    grower.plant()
    for _ in range(count):
        grower.grow()
    outputs = grower.outputs()
    grower.e.check(way, *outputs, tolerance=[grower.tolerance(node) for node in outputs])
