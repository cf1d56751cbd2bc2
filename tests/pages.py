"""The code that README and the pages of docs/ show, and how it is run."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

ADDRESS: Final = "localhost:50051"
"""Where the pages say that a server is."""


def blocks(page: Path, language: str) -> list[str]:
    """Return what stands between the fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


async def execute(page: Path, address: str) -> dict[str, Any]:
    """Execute the Python of a page, block after block as it could be pasted, and return what it has defined."""
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks(page, "python")):
        source = block.replace(ADDRESS, address)
        code = compile(source, f"<block {number} of {page.name}>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            await result
    return names


def commands(page: Path) -> list[list[str]]:
    """Return the words of every command that a page shows: the program without its folder, no comment, no "&"."""
    lines = [line for block in blocks(page, "console") for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if line.startswith("$ ")]
    return [[Path(program).name, *(each for each in rest if each != "&")] for program, *rest in found]
