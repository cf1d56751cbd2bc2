"""Text that goes into a page stays text."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from arraymill.load._markup import Markup, data_script, element, join, table


class Reader(HTMLParser):
    """Reads a page as a browser would: elements with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


TEXTS = st.text(st.characters(exclude_characters="\r\0"))


@given(TEXTS, TEXTS)
def test_a_text_comes_out_as_it_went_in(text: str, value: str) -> None:
    read = Reader(element("p", text, title=value))
    expected = text.encode("utf-8", "replace").decode()
    assert (read.text, read.tags) == (expected, [("p", {"title": value.encode("utf-8", "replace").decode()})])


def test_elements_nest() -> None:
    inner = (element("li", text, class_="x") for text in ("a", "b"))
    assert element("ul", inner, Markup("<hr>"), data_size=3, hidden=None) == (
        '<ul data-size="3"><li class="x">a</li><li class="x">b</li><hr></ul>'
    )
    assert element("rect", x="1") == '<rect x="1"/>'
    assert join(["a<", [element("b", "c")]]) == "a&lt;<b>c</b>"


def test_a_table_names_its_rows() -> None:
    read = Reader(table(("load", "p50"), [("1 client", "3 ms")]))
    assert [(tag, told.get("scope")) for tag, told in read.tags if tag in ("th", "td")] == [
        ("th", "col"),
        ("th", "col"),
        ("th", "row"),
        ("td", None),
    ]
    assert read.text == "loadp501 client3 ms"


@given(st.dictionaries(st.text() | st.just("</script>"), st.text() | st.just("<!--<script>")))
def test_data_never_ends_its_block(document: dict[str, str]) -> None:
    block = data_script("plots", document)
    inner = block.removeprefix('<script type="application/json" id="plots">').removesuffix("</script>")
    assert "<" not in inner
    assert inner.isascii()
    assert json.loads(inner) == document
