"""Write what the pages of docs/ tell of the code: operations, commands, errors, metrics, alerts.

python tools/docs.py            write it
python tools/docs.py --check    compare it with the committed pages; exit code 1 when they differ
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from arraymill.cli._command import command as arraymill
from arraymill.cli._compute import REDUCTIONS
from arraymill.cli._exit_codes import MEANINGS
from arraymill_proto.catalogue import OPERATIONS, BoundParams, Kind, Signature, infer
from arraymill_proto.errors import ERRORS, ArraymillError, Reason
from arraymill_proto.graph import ArrayType
from arraymill_server.cli.command import command as serve
from arraymill_server.metrics.families import FAMILIES

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"

RULES: Final = DOCS.parent / "deploy" / "prometheus" / "rules.yml"

HELP_COLUMNS: Final = 110

DTYPES: Final = ("bool", "int32", "float32", "complex64")
"""What the tables of operations tell results for: one of each kind."""

SAMPLE: Final[BoundParams] = {"part": 0, "dtype": np.dtype("f8")}
"""Values of the parameters that an operation may need."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


# ------------------------------------------------------------------ operations.md


def operations() -> str:
    """Return the tables of all operations, by kind and number of operands."""
    parts: list[str] = []
    for kind in Kind:
        signatures = [signature for signature in OPERATIONS.values() if signature.kind is kind]
        parts.append(f"## {kind.capitalize()}: {len(signatures)} operations\n")
        for args in sorted({signature.max_args for signature in signatures}):
            rows = [_row(signature) for signature in signatures if signature.max_args == args]
            operands = "One operand" if args == 1 else f"{args} operands"
            parts.append(f"{operands}:\n\n{table(('operation', 'value', 'parameters', *DTYPES), rows)}")
    return "\n".join(parts)


def _row(signature: Signature) -> list[str]:
    params = ", ".join(f"**{name}**" if name in signature.required else name for name in signature.params)
    summary = signature.summary.replace("|", "\\|")
    return [f"`{signature.name}`", summary, params, *(_result(signature, dtype) for dtype in DTYPES)]


def _result(signature: Signature, dtype: str) -> str:
    """Return the dtype of the result for operands of one dtype; a dash where NumPy has none."""
    operands = [ArrayType((2,), np.dtype(dtype))] * signature.max_args
    params = {name: SAMPLE[name] for name in signature.required}
    try:
        return infer(signature.name, operands, params).dtype.name
    except ArraymillError:
        return "–"


# ------------------------------------------------------------------ command-line.md


def commands() -> str:
    """Return the help of every command; the reductions, which differ in their parameters only, have one."""
    reductions = {command.name for command in REDUCTIONS}
    shown = {name: command for name, command in arraymill.commands.items() if name not in reductions or name == "sum"}
    parts = [_help(name, serve if name == "serve" else command) for name, command in shown.items()]
    return "\n".join(parts)


def _help(name: str, command: click.Command) -> str:
    settings: dict[str, Any] = {
        **arraymill.context_settings,
        **command.context_settings,
        "max_content_width": HELP_COLUMNS,
    }
    context = click.Context(command, info_name=f"arraymill {name}", terminal_width=HELP_COLUMNS, **settings)
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    return "\n".join([f"### arraymill {name}\n", "```text", *lines, "```\n"])


def exit_codes() -> str:
    """Return the table of exit codes."""
    return table(("exit code", "meaning"), [(str(code.value), meaning) for code, meaning in MEANINGS.items()])


# ------------------------------------------------------------------ client.md


def errors() -> str:
    """Return the table of errors: each class, what else it is, its reasons and its meaning."""
    reasons: dict[type[ArraymillError], list[Reason]] = {}
    for reason, cls in ERRORS.items():
        reasons.setdefault(cls, []).append(reason)
    rows = [
        (f"`{cls.__name__}`", _others(cls), ", ".join(f"`{name}`" for name in names), _first_line(cls))
        for cls, names in reasons.items()
    ]
    return table(("error", "also", "reasons", "meaning"), rows)


def _others(cls: type[ArraymillError]) -> str:
    """Return the classes of Python and NumPy that `except` catches it by."""
    known = [base for base in cls.__mro__ if not issubclass(base, ArraymillError) and issubclass(base, Exception)]
    nearest = [base for base in known if not any(other is not base and issubclass(other, base) for other in known)]
    return ", ".join(f"`{_name(base)}`" for base in nearest if base is not Exception)


def _name(cls: type) -> str:
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").splitlines()[0]


# ------------------------------------------------------------------ deployment.md


def metrics() -> str:
    """Return the table of metrics."""
    rows = [(f"`{family.name}`", family.kind, ", ".join(family.labels), family.help) for family in FAMILIES]
    return table(("metric", "kind", "labels", "what it tells"), rows)


def alerts() -> str:
    """Return the table of alerts, each with what to do."""
    rows = [
        (f"`{name}`", severity, runbook)
        for name, severity, runbook in re.findall(
            r'^ +- alert: (\w+)$.*?^ +severity: (\w+)$.*?^ +runbook: "(.+?)"$',
            RULES.read_text(),
            re.MULTILINE | re.DOTALL,
        )
    ]
    return table(("alert", "severity", "what to do"), rows)


# ------------------------------------------------------------------ pages

SECTIONS: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "operations.md": {"operations": operations},
    "command-line.md": {"commands": commands, "exit codes": exit_codes},
    "client.md": {"errors": errors},
    "deployment.md": {"metrics": metrics, "alerts": alerts},
}
"""What is written where: pages, the titles of their marks, and what stands between these."""


def updated(page: str, title: str, content: str) -> str:
    """Return a page with another content of a section.

    Raises:
        ValueError: It has no such section.
    """
    begin, end = f"<!-- {title}: python tools/docs.py writes this -->\n", f"<!-- end of {title} -->\n"
    head, begins, rest = page.partition(begin)
    _, ends, tail = rest.partition(end)
    if not (begins and ends):
        raise ValueError(f"there are no lines {begin.strip()} and {end.strip()}")
    return f"{head}{begin}\n{content}\n{end}{tail}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write what the pages of docs/ tell of the code.")
    parser.add_argument("--check", action="store_true", help="only compare with the committed pages")
    is_check: bool = parser.parse_args().check
    for name, sections in SECTIONS.items():
        page = fresh = (DOCS / name).read_text()
        for title, render in sections.items():
            fresh = updated(fresh, title, render())
        if is_check and fresh != page:
            sys.exit(f"docs/{name} is out of date; run python tools/docs.py")
        (DOCS / name).write_text(fresh)


if __name__ == "__main__":
    main()
