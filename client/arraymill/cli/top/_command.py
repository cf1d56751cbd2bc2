"""The command `top`: asks a server again and again, and shows what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import click

from arraymill import AsyncClient
from arraymill._address import resolve
from arraymill.cli._options import Settings, connected
from arraymill.cli._session import run_cancellable
from arraymill.cli._show import show_json
from arraymill.cli.top._facts import document, plain_line
from arraymill.cli.top._meter import View
from arraymill.cli.top._source import Source

ANSWER_SECONDS: Final = 10.0
"""After which a question is asked anew, unless --timeout says otherwise."""


class _Seconds(click.FloatRange):
    """A number of seconds; "nan" is within all bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return it."""
        seconds: float = super().convert(value, param, ctx)
        return seconds if isfinite(seconds) else self.fail(f"{value!r} is no number of seconds", param, ctx)


@click.command()
@click.option(
    "--interval",
    type=_Seconds(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two questions.",
)
@click.option("--once", is_flag=True, help="Ask twice, print what there is and how much in a second, and end.")
@connected
def top(settings: Settings, interval: float, once: bool) -> None:
    """Show what the server does, live: workers, memory, traffic, and the submitted jobs that wait or run.

    On a terminal q ends it and p pauses it. Elsewhere it prints a line each time, with --json an object. A server that
    goes away is asked again until it is back.
    """
    show: Callable[[View], None] = _show_json if settings.as_json else _show_frame if once else _show_line
    is_live = not (once or settings.as_json) and _is_screen()

    async def work() -> None:
        async with AsyncClient(settings.server, retry_for=0) as mill:
            source = Source(mill, resolve(settings.server), interval, settings.timeout or ANSWER_SECONDS)
            try:
                await (_live(source) if is_live else _printed(source, show, once=once))
            finally:
                await source.close()

    try:
        run_cancellable(work)
    except KeyboardInterrupt:
        if not is_live:
            raise


def _is_screen() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}


async def _live(source: Source) -> None:
    from arraymill.cli.top._live import Live  # noqa: PLC0415  # rich takes long to load, and not all systems have termios

    await Live(source).run()


async def _printed(source: Source, show: Callable[[View], None], *, once: bool) -> None:
    """Print each view; the first one, which has no rates yet, is passed over."""
    await source.answer()
    if once:
        show(await source.answer())
        return
    while True:
        show(await source.next())


def _show_line(view: View) -> None:
    click.echo(plain_line(view))


def _show_json(view: View) -> None:
    show_json(document(view))


def _show_frame(view: View) -> None:
    from arraymill.cli.top._frame import plain_frame  # noqa: PLC0415  # likewise

    for line in plain_frame(view):
        click.echo(line)
