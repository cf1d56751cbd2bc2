"""The beginning of a command, before there is anything that could tell its end."""

from __future__ import annotations

import pytest

from arraymill import cli
from arraymill.cli._exit_codes import ExitCode


def test_ctrl_c_while_the_commands_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> object:
        raise KeyboardInterrupt(name)

    monkeypatch.setattr(cli, "find_spec", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["info"])
    assert ended.value.code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == ""
