"""Every end of the server has its number, its meaning and its line in the documentation."""

from __future__ import annotations

import signal
from pathlib import Path

from click.testing import CliRunner

from arraymill_server.app.exit_codes import MEANINGS, ExitCode
from arraymill_server.cli.command import command

DESIGN = Path(__file__).parents[4] / "server" / "DESIGN.md"


def table() -> str:
    rows = [f"| {code.value} | `{code.name}` | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | name | why the server ended |", "| --- | --- | --- |", *rows])


def test_every_code_has_its_meaning() -> None:
    assert list(MEANINGS) == list(ExitCode)


def test_the_alarm_has_the_number_that_a_shell_gives_it() -> None:
    assert ExitCode.ALARM == 128 + signal.SIGALRM


def test_the_documentation_has_all_of_them() -> None:
    before, _, rest = DESIGN.read_text().partition("<!-- exit codes -->\n")
    assert before
    assert rest.partition("\n<!-- end -->")[0] == table()


def test_the_help_has_all_of_them() -> None:
    told = CliRunner().invoke(command, ["--help"]).output
    for code, meaning in MEANINGS.items():
        assert f"{code.value}  {meaning}" in told
