"""Doing the same to several things that a server has: to each, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import click

from arraymill.cli._exit_codes import exit_code
from arraymill.cli._options import Settings
from arraymill.cli._show import show_json
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, IncompatibleServerError

Outcomes: TypeAlias = "Mapping[str, dict[str, Any] | ArraymillError]"
"""By what was given: what JSON says of it, or why it went wrong."""


async def each_of(names: Sequence[str], act: Callable[[str], Awaitable[dict[str, Any]]]) -> Outcomes:
    """Return what became of each; without a server nothing becomes of those that are left."""
    outcomes: dict[str, dict[str, Any] | ArraymillError] = {}
    for name in dict.fromkeys(names):
        try:
            outcomes[name] = await act(name)
        except ArraymillError as exc:
            outcomes[name] = exc
            if isinstance(exc, ConnectionFailedError | IncompatibleServerError):
                break
    return outcomes


def tell_outcomes(settings: Settings, outcomes: Outcomes) -> None:
    """Print one JSON document of all outcomes, if wanted, else a line for each error; end the command after an error.

    Raises:
        ArraymillError: The last one: it tells the exit code, and it is not in the document.
        click.exceptions.Exit: With the same code, where the document has it.
    """
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, ArraymillError)]
    if settings.as_json:
        show_json([_document(name, outcome) for name, outcome in outcomes.items()])
        if errors:
            click.get_current_context().exit(exit_code(errors[-1]))
    for error in errors[:-1]:
        click.echo(f"arraymill: {' '.join(str(error).split())}", err=True)
    if errors:
        raise errors[-1]


def _document(name: str, outcome: dict[str, Any] | ArraymillError) -> dict[str, Any]:
    return {"id": name, "error": error_document(outcome)} if isinstance(outcome, ArraymillError) else outcome


def error_document(error: ArraymillError) -> dict[str, str]:
    """Return an error as JSON can say it."""
    return {"reason": error.reason, "message": error.message, **error.details}
