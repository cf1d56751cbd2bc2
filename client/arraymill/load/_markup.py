"""HTML that cannot be broken by what it shows: text becomes markup only through `element`, which escapes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, TypeAlias

Child: TypeAlias = "str | Iterable[Child]"
"""What an element can hold."""

_VOID: Final = frozenset({"meta", "rect"})
"""Elements without content; those of SVG close themselves."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Return an element.

    Args:
        name: Of the element.
        children: Texts, which are escaped; `Markup`, which is not; or several of these.
        attributes: `class_` stands for `class`, `data_x` for `data-x`; None: left out; "": without a value.
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{_text(str(value))}"')
    if name in _VOID:
        return Markup("".join([*parts, "/>"]))
    return Markup("".join([*parts, ">", join(children), f"</{name}>"]))


def join(children: Iterable[Child]) -> Markup:
    """Return several pieces as one."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else _text(child) if isinstance(child, str) else join(child)
            for child in children
        )
    )


def _text(text: str) -> str:
    """Escape a text; half a surrogate pair, which no file can hold, becomes a question mark."""
    return escape(text.encode("utf-8", "replace").decode())


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str = "", caption: str = "") -> Markup:
    """Return a table whose first column names the rows and whose others are numbers."""
    head = element("tr", (element("th", text, scope="col") for text in header))
    body = (
        element("tr", element("th", row[0], scope="row"), (element("td", text) for text in row[1:])) for row in rows
    )
    title = [element("caption", caption)] if caption else []
    whole = element("table", title, element("thead", head), element("tbody", body), class_=class_ or None)
    return element("div", whole, class_="scroll", tabindex="0")


def data_script(identity: str, document: object) -> Markup:
    """Return a block of data for the page's script; nothing in it can end the block."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{identity}">{text}</script>')
