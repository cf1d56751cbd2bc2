"""Small jobs that are played: the bits of the long way, and NumPy's values, for whatever else was played before."""

from __future__ import annotations

import numpy as np
import pytest
from expressions import assert_same
from growing import Grower
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from strategies import Array
from ways import Way

from arraymill_proto.graph import Graph, Input
from arraymill_proto.validate import infer_graph
from arraymill_server.arena.memory import Memory
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.planner import plan_job
from arraymill_server.plan.script import Script, script_of
from arraymill_server.testing.arrays import as_seen, empty_result, put, wire_bytes

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

MEMORY_BYTES = 1 << 16


class Stage:
    """Where scripts are played: all in one memory, which is full of rubbish at first."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._memory = np.full(MEMORY_BYTES, 0xA5, np.uint8).data
        self._interpreter = Interpreter(Memory(self._memory), piece_bytes=way.piece_bytes)

    def script(self, graph: Graph) -> Script | None:
        with self.way.applied() as limits:
            plan = plan_job(graph, infer_graph(graph, lambda _: pytest.fail("no resident array")), {}, limits)
            return script_of(graph, plan, self._interpreter, self._memory)


def played(script: Script, data: list[bytes]) -> list[Array]:
    """Play a script; return its results as the user sees them."""
    results, seconds = script.play(data)
    assert seconds >= 0
    seen: list[Array] = []
    for result, received in zip(script.plan.outputs, results, strict=True):
        array = empty_result(result)
        put(array, 0, np.frombuffer(received, np.uint8))
        seen.append(as_seen(array, result))
    return seen


@examples(150)
@given(data=st.data(), count=st.integers(1, 8), elements=st.integers(1, 7) | st.none())
def test_scripts_give_the_bits_of_the_long_way(data: st.DataObject, count: int, elements: int | None) -> None:
    grower = Grower(data, has_residents=False)
    grower.plant()
    for _ in range(count):
        grower.grow()
    outputs = grower.outputs()
    graph, stage = grower.e.graph(*outputs), Stage(Way(block_elements=elements))
    script = stage.script(graph)
    if script is None:
        return
    given_orders = [node.order for node in graph.nodes if isinstance(node, Input)]
    elements_of = [
        wire_bytes(array, order or tuple(range(array.ndim))).tobytes()
        for array, order in zip(grower.e.arrays, given_orders, strict=True)
    ]
    others = [bytes(len(one)) for one in elements_of]
    assert script.fits(elements_of)
    long_way = grower.e.run(stage.way, *outputs)
    first = played(script, elements_of)
    played(script, others)
    again = played(script, elements_of)
    for one, two, three, node in zip(long_way, first, again, outputs, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()
        assert_same(two, np.asarray(grower.e.values[node]), grower.tolerance(node))
