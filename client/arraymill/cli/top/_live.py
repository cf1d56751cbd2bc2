"""The live view: one screen, drawn again with each answer, key and size."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.console import Console

from arraymill.cli.top._frame import ASCII, UNICODE, frame
from arraymill.cli.top._meter import View
from arraymill.cli.top._source import Source
from arraymill.cli.top._terminal import Terminal

KEYS: Final = "q quits, p pauses"
PAUSED: Final = "paused: p goes on"


class Live:
    """Shows what a source tells until q is typed. Make it in a running event loop.

    Args:
        source: Of views.
        console: On the terminal; None: one on stdout.
    """

    def __init__(self, source: Source, console: Console | None = None) -> None:
        self._source = source
        self._console = console or Console(highlight=False)
        self._glyphs = ASCII if self._console.options.ascii_only else UNICODE
        self._over = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._view: View | None = None
        self._terminal = Terminal(self._console, self._on_key, self._draw)

    async def run(self) -> None:
        """Show the views; ends at q. Cancelling it gives the terminal back as well.

        Raises:
            ArraymillError: The server has never answered; then nothing was shown.
        """
        self._view = await self._source.answer()
        with self._terminal:
            self._draw()
            following = asyncio.ensure_future(self._follow())
            over = asyncio.ensure_future(self._over.wait())
            try:
                await asyncio.wait([following, over], return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
            finally:
                following.cancel()
                over.cancel()
                await asyncio.gather(following, over, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await self._going.wait()
            self._view = await self._source.next()
            self._draw()

    def _draw(self) -> None:
        if self._view is not None:
            keys = KEYS if self._going.is_set() else PAUSED
            self._terminal.draw(frame(self._view, keys, *self._terminal.size, self._glyphs))

    def _on_key(self, key: str) -> None:
        if key in "qQ":
            self._over.set()
        elif key in "pP":
            (self._going.clear if self._going.is_set() else self._going.set)()
            self._draw()
