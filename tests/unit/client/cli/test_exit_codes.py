"""Every end of a command has its code and its line."""

from __future__ import annotations

import asyncio

import click
import pytest

from arraymill.cli._command import explain
from arraymill.cli._errors import InputError, MissingExtraError
from arraymill.cli._exit_codes import MEANINGS, ExitCode, exit_code
from arraymill.cli._session import TerminatedError
from arraymill_proto.errors import ERRORS, Reason

CODES = {
    ExitCode.FAILED: {"CANCELLED", "WORKER", "INTERNAL"},
    ExitCode.CONNECTION: {"SHUTTING_DOWN", "UNAVAILABLE", "INCOMPATIBLE", "CORRUPTED"},
    ExitCode.CAPACITY: {"BUSY", "TOO_LARGE", "RESULT_TOO_LARGE"},
    ExitCode.DEADLINE: {"DEADLINE"},
}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_code(reason: Reason) -> None:
    expected = next((code for code, reasons in CODES.items() if reason in reasons), ExitCode.INPUT)
    assert exit_code(ERRORS[reason]("what happened", reason=reason)) == expected
    assert explain(ERRORS[reason]("what\n  happened", reason=reason)) == (expected, "what happened")


def test_every_code_has_its_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert all(MEANINGS.values())


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted"),
        (asyncio.CancelledError(), ExitCode.INTERRUPTED, "interrupted"),
        (TerminatedError(), ExitCode.TERMINATED, "terminated"),
        (InputError("x.npy: no"), ExitCode.INPUT, "x.npy: no"),
        (
            MissingExtraError("the demo", "p", "demo"),
            ExitCode.MISSING,
            "the demo needs the package p; install it: pip install 'arraymill[demo]'",
        ),
        (click.UsageError("no such option"), ExitCode.USAGE, "no such option (try: arraymill --help)"),
        (ZeroDivisionError("oh\nno"), ExitCode.FAILED, "unexpected ZeroDivisionError: oh no (--traceback shows where)"),
    ],
)
def test_other_ends(error: BaseException, code: ExitCode, line: str) -> None:
    assert explain(error) == (code, line)
