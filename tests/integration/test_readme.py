"""What the README shows can be pasted as it is, block after block, and works."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from servers import RunningServer

import arraymill as am
from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode

README: Final = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


async def test_the_code(server: RunningServer, mill: am.Client) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks("python")):
        source = block.replace("localhost:50051", server.address)
        code = compile(source, f"<block {number} of README.md>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            await result
    await names["mill"].close()
    x, w = names["x"], names["w"]
    assert names["total"] == pytest.approx(x.sum())
    assert len(names["many"]) == len(names["arrays"])
    np.testing.assert_allclose(names["value"], np.sqrt(x * x + w * w).mean(axis=0))
    np.testing.assert_allclose(names["z"], (x - x.mean()) / x.std())
    np.testing.assert_array_equal(names["part"], x[1000:2000])
    assert not mill.jobs()


def test_the_command_line(
    mill: am.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (commands,) = (block for block in blocks("console") if "arraymill compute" in block)
    monkeypatch.chdir(tmp_path)
    for name in ("x", "a", "b"):
        np.save(f"{name}.npy", np.random.default_rng(1).random((30, 40)))
    with am.Client(mill.address) as gone:
        waiting = gone.submit(am.asarray(np.ones(20_000_000)).sum())
    submitted = ""
    for line in commands.splitlines():
        program, command, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        id = waiting.id if command == "cancel" else submitted
        assert program == "arraymill"
        assert run([command, *(id if each == "ID" else each for each in arguments)]) == ExitCode.OK, line
        told = capsys.readouterr().out
        submitted = told.strip() if "--submit" in arguments else submitted
    assert [status.id for status in mill.jobs()] == [waiting.id]
    np.testing.assert_allclose(np.load("sums.npy"), np.load("x.npy").sum(axis=0))
    assert {path.name for path in tmp_path.iterdir()} >= {"out.npy", "z.npy"}
