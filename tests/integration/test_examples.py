"""The examples run as they are, and what they compute is what NumPy computes."""

from __future__ import annotations

import inspect
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from servers import RunningServer
from strategies import Array

import arraymill as am

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
SCRIPTS: Final = sorted(path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("test_"))
WITH_FILES: Final = "larger_than_memory.py"


def names(script: str, run_name: str = "example") -> dict[str, Any]:
    """Execute a script and return what it defines."""
    return runpy.run_path(str(EXAMPLES / script), run_name=run_name)


def arguments(script: str, folder: Path) -> list[str]:
    """Return what a script is to be called with."""
    if script != WITH_FILES:
        return []
    np.save(folder / "in.npy", np.random.default_rng(1).random((300, 1000)))
    return [str(folder / "in.npy"), str(folder / "out.npy")]


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_runs(script: str, mill: am.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *arguments(script, tmp_path)])
    names(script, "__main__")
    assert not mill.jobs()
    assert not mill.list()


def test_every_example_says_what_it_is_and_how_to_run_it() -> None:
    for script in SCRIPTS:
        text = inspect.cleandoc(names(script)["__doc__"])
        assert f"python examples/{script}" in text


def test_the_suite_of_the_example_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "-c", "/dev/null"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    suite = EXAMPLES / "test_with_local.py"
    done = subprocess.run([*command, suite], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


async def test_fan_out(server: RunningServer) -> None:
    script = names("fan_out.py")
    async with am.AsyncClient(server.address) as mill:
        arrays: list[Array] = [script["measurement"](number) for number in range(20)]
        expected = [float(np.mean(array)) for array in arrays]
        np.testing.assert_allclose(await script["means_of_all"](mill, arrays), expected)
        np.testing.assert_allclose(await script["means_in_bounded_memory"](mill, 20, 3), expected)


def test_lazy_expressions(mill: am.Client) -> None:
    script = names("lazy_expressions.py")
    x: Array = np.random.default_rng(2).normal(size=(50, 7))
    y: Array = np.random.default_rng(3).normal(size=(50, 7))
    np.testing.assert_allclose(script["lengths"](mill, x, y), np.hypot(x, y).mean(axis=0))
    np.testing.assert_allclose(script["standardised"](mill, x), (x - x.mean(axis=0)) / x.std(axis=0))
    x[3, 3] = np.nan
    assert script["summary"](mill, x)["missing"] == 1
    assert script["summary"](mill, x)["mean"] == pytest.approx(x[~np.isnan(x)].mean())


def test_resident_arrays(mill: am.Client) -> None:
    script = names("resident_arrays.py")
    x = np.random.default_rng(3).normal(size=5000)
    script["keep"](mill, x)
    assert script["outliers"](mill, 2.0) == np.count_nonzero(abs(x - x.mean()) > 2 * x.std())
    np.testing.assert_allclose(mill.get(script["smooth"](mill)), (x[:-2] + x[1:-1] + x[2:]) / 3)


async def test_submitted_jobs(mill: am.Client) -> None:
    script = names("submitted_jobs.py")
    x = np.random.default_rng(4).normal(size=(300, 5))
    async with am.AsyncClient(mill.address) as client:
        job = await script["submit"](client, x)
        assert await script["follow"](job) is am.JobState.SUCCEEDED
    np.testing.assert_allclose(await script["fetch"](job.id), np.log1p(x * x).sum(axis=0))


def test_larger_than_memory(mill: am.Client, tmp_path: Path) -> None:
    x = np.random.default_rng(5).random((100, 70), np.float32)
    np.save(tmp_path / "x.npy", x)
    names(WITH_FILES)["standardise"](mill, tmp_path / "x.npy", tmp_path / "z.npy")
    z = np.load(tmp_path / "z.npy")
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)


def test_same_host(mill: am.Client) -> None:
    values = np.random.default_rng(6).random(300_000)
    np.testing.assert_array_equal(names("same_host.py")["roots"](mill, values), np.sqrt(values))


async def test_failures(server: RunningServer) -> None:
    script = names("failures.py")
    in_time: Callable[..., Any] = script["in_time"]
    x = np.arange(300_000.0)
    async with am.AsyncClient(server.address) as mill:
        axis, shape = await script["mistakes_are_numpys"](mill)
        assert axis.startswith("AxisError: ")
        assert shape.startswith("ValueError: ")
        assert await in_time(mill, x, 1e-6) is None
        assert await in_time(mill, x, 60) == x.sum()
        assert await script["first_of"](mill, [x, x, x]) == x.sum()
        assert await script["patiently"](mill, x) == x.sum()
