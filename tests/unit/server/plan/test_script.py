"""Scripts of small jobs: which jobs have one. Their bits: tests/property/test_scripts.py."""

from __future__ import annotations

import numpy as np
import pytest
from plans import floats, graph_of, operation, plan_of

from arraymill_proto.graph import Graph, Input
from arraymill_server.arena.memory import Memory
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.script import MAX_STEPS, Script, script_of

X = np.arange(12.0)


class Stage:
    """A memory for scripts."""

    def __init__(self, nbytes: int = 1 << 16) -> None:
        self.memory = np.zeros(nbytes, np.uint8).data
        self.interpreter = Interpreter(Memory(self.memory))

    def script(self, graph: Graph, block_elements: int | None = None) -> Script | None:
        plan = plan_of(graph, block_elements=block_elements)
        return script_of(graph, plan, self.interpreter, self.memory)


SUM = graph_of(floats(12), operation("sum", 0))


def test_a_script_is_played_with_any_elements() -> None:
    script = Stage().script(SUM)
    assert script is not None
    for x in (X, -X, X):
        results, seconds = script.play([x.tobytes()])
        assert np.frombuffer(results[0]) == x.sum()
        assert seconds >= 0
    assert (script.received_bytes, script.sent_bytes) == (96, 8)
    assert repr(script) == "<Script of 4 steps>"


def test_scripts_share_their_memory() -> None:
    """Programs are bound: another script may lie where they lay."""
    stage = Stage()
    scripts = [stage.script(graph_of(floats(12), operation(name, 0))) for name in ("sum", "sqrt", "cumsum", "std")]
    for _ in range(2):
        answers = [np.frombuffer(script.play([X.tobytes()])[0][0]) for script in scripts if script]
        for answer, name in zip(answers, ("sum", "sqrt", "cumsum", "std"), strict=True):
            np.testing.assert_array_equal(answer, getattr(np, name)(X))


def test_several_passes_and_outputs() -> None:
    graph = graph_of(
        floats(12), operation("mean", 0), operation("subtract", 0, 1), operation("sum", 2), outputs=(2, 3, 2)
    )
    script = Stage().script(graph, block_elements=5)
    assert script is not None
    results, _ = script.play([X.tobytes()])
    centred = X - X.mean()
    np.testing.assert_array_equal(np.frombuffer(results[0]), centred)
    np.testing.assert_array_equal(np.frombuffer(results[2]), centred)
    np.testing.assert_allclose(np.frombuffer(results[1]), centred.sum(), atol=1e-12)


def test_inputs_must_have_the_bytes_of_their_types() -> None:
    script = Stage().script(SUM)
    assert script is not None
    assert script.fits([bytes(96)])
    assert not script.fits([bytes(95)])
    assert not script.fits([bytes(96), b""])
    assert not script.fits([])


def test_arrays_without_elements() -> None:
    script = Stage().script(graph_of(floats(0), operation("sum", 0)))
    assert script is not None
    script.play([b""])
    results, _ = script.play([b""])
    assert np.frombuffer(results[0]) == 0


def test_too_many_steps_are_no_script() -> None:
    assert Stage().script(graph_of(floats(1000), operation("sqrt", 0)), block_elements=1) is None
    most = Stage().script(graph_of(floats(MAX_STEPS // 4), operation("sqrt", 0)), block_elements=1)
    assert most is not None


def test_a_large_workspace_is_no_script() -> None:
    graph = graph_of(floats(1000), operation("sqrt", 0))
    assert Stage(16_000).script(graph) is None
    assert Stage(17_000).script(graph) is not None


def test_large_results_are_no_script() -> None:
    """One value may be many outputs."""
    graph = graph_of(floats(1000), operation("sqrt", 0), outputs=(1,) * 5)
    assert Stage(1 << 15).script(graph) is None


def test_an_input_that_is_wanted_in_another_order_is_no_script() -> None:
    rows = graph_of(floats(3, 4, order=(1, 0)), floats(3, 4), operation("add", 0, 1))
    assert Stage().script(rows) is None
    assert Stage().script(graph_of(floats(3, 4, order=(1, 0)), operation("sqrt", 0))) is not None


def test_what_a_kernel_raises_comes_through() -> None:
    x, y = np.arange(4), np.array([1, 2, 3, -1])
    graph = graph_of(*[Input((4,), np.dtype(np.int64))] * 2, operation("power", 0, 1))
    script = Stage().script(graph)
    assert script is not None
    with pytest.raises(Exception, match="negative"):
        script.play([x.tobytes(), y.tobytes()])
    results, _ = script.play([x.tobytes(), abs(y).tobytes()])
    np.testing.assert_array_equal(np.frombuffer(results[0], np.int64), x ** abs(y))
