"""What README and docs/ show works: Python block after block, and the commands."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from pages import PAGES, ROOT, blocks, commands, execute
from servers import RunningServer

import arraymill as am
from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode
from arraymill.load._plan import read_plan
from arraymill_server.cgroup import Machine
from arraymill_server.cli.command import command as serve
from arraymill_server.config import ServerConfig
from arraymill_server.quantities import GIB

LONG: Final = {"serve", "demo", "doctor", "load", "report", "top"}
"""Commands with tests of their own, which take long or need more than a server."""

LINK: Final = re.compile(r"\]\((?!\w+://)([^)#\s]*)#?([^)\s]*)\)")

CONFIG: Final = re.compile("--config /etc/[^ ]+")
"""Of a file that is not here."""

MACHINE: Final = Machine(cpus=8, memory_bytes=16 * GIB, shm_free_bytes=8 * GIB)

EXTRAS: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_code_of_a_page(page: Path, server: RunningServer, mill: am.Client) -> None:
    names = await execute(page, server.address)
    if isinstance(opened := names.get("mill"), am.AsyncClient):
        await opened.close()
    assert not mill.jobs()
    assert not mill.list()
    if page.name == "README.md":
        check_readme(names)


def check_readme(names: dict[str, Any]) -> None:
    x, w = names["x"], names["w"]
    assert names["total"] == pytest.approx(x.sum())
    assert len(names["many"]) == len(names["arrays"])
    np.testing.assert_allclose(names["value"], np.sqrt(x * x + w * w).mean(axis=0))
    np.testing.assert_allclose(names["z"], (x - x.mean()) / x.std())
    np.testing.assert_array_equal(names["part"], x[1000:2000])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page(
    page: Path, mill: am.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x", "a", "b"):
        np.save(f"{name}.npy", np.random.default_rng(1).random((30, 40)))
    submitted = ""
    for program, *arguments in commands(page):
        if program == "arraymill" and arguments[0] not in LONG:
            id = waiting_job(mill.address) if arguments[0] == "cancel" else submitted
            given = [id if each == "ID" else each for each in arguments]
            assert run(given) == ExitCode.OK, shlex.join([program, *arguments])
            told = capsys.readouterr().out
            submitted = told.strip() if "--submit" in arguments else submitted
        else:
            CHECKS[program](arguments)
    if page.name == "command-line.md":
        np.testing.assert_allclose(np.load("sums.npy"), np.load("x.npy").sum(axis=0))


def waiting_job(address: str) -> str:
    """Submit a job whose input does not come."""
    with am.Client(address) as gone:
        return gone.submit(am.asarray(np.broadcast_to(np.float64(1), 2_000_000)).sum()).id


def check_arraymill(arguments: list[str]) -> None:
    """Check that the options of a command that is not run are there."""
    if arguments[0] == "serve":
        serve.make_context("serve", shlex.split(CONFIG.sub("", shlex.join(arguments[1:]))))
    else:
        assert run([arguments[0], "--help"]) == ExitCode.OK
    said = (ROOT / "docs" / "command-line.md").read_text()
    help_text = said.partition(f"### arraymill {arguments[0]}\n")[2].partition("### arraymill")[0]
    options = {each.partition("=")[0] for each in arguments if re.match("--?[a-z]", each)}
    assert {option for option in options if option not in help_text} == set()


def check_make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {each for each in arguments if "=" not in each} <= targets


def check_pip(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    for extras in re.findall(r"\[(.+?)\]", " ".join(arguments)):
        assert set(extras.split(",")) <= set(EXTRAS)


def check_paths(arguments: list[str]) -> None:
    assert [each for each in arguments if "/" in each and not (ROOT / each).exists()] == []


def check_nothing(arguments: list[str]) -> None:
    """Others' programs, whose arguments are ours to try by hand."""


CHECKS: Final[dict[str, Callable[[list[str]], None]]] = {
    "arraymill": check_arraymill,
    "make": check_make,
    "pip": check_pip,
    "python": check_paths,
    "python3": check_nothing,
    **dict.fromkeys(["cd", "curl", "docker", "docker-compose", "kill", "node", "npm", "systemctl"], check_nothing),
}
"""How a command is checked that is not run."""


def test_every_link_leads_somewhere() -> None:
    links = [(page, target, anchor) for page in PAGES for target, anchor in LINK.findall(page.read_text())]
    assert [
        f"{page.name}: {target}#{anchor}" for page, target, anchor in links if not leads(page, target, anchor)
    ] == []


def leads(page: Path, target: str, anchor: str) -> bool:
    to = page.parent / target if target else page
    if not anchor:
        return to.exists()
    titles = re.findall(r"^#+ (.+)$", to.read_text(), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_settings_of_a_page_are_read(page: Path) -> None:
    for settings in map(tomllib.loads, blocks(page, "toml")):
        if "mix" in settings:
            read_plan(settings, {})
        else:
            ServerConfig.from_mapping(settings, machine=MACHINE)
    for unit in blocks(page, "ini"):
        (line,) = re.findall(r"^ExecStart=\S+ (.+)$", unit, re.MULTILINE)
        check_arraymill(shlex.split(line))
