"""What the HTML report draws: plots as plain data, each with a table of the same for people who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from arraymill.load._figures import Unit
from arraymill.load._markup import Markup, element, table

LOG_RATIO: Final = 20
"""Values further apart than this are drawn on a logarithmic axis: on a linear one the small ones would lie on zero."""

Numbers = Sequence[float | None]
Style = Literal["line", "thin", "dashed", "points", "errors"]


@dataclass(frozen=True, slots=True)
class Line:
    """One series; its colour is a name of the stylesheet, or a place between 0 and 1 on its ramp."""

    label: str
    color: str | float
    values: Numbers
    style: Style = "line"
    unit: Unit | None = None
    """Of its values, where they are not drawn to the plot's scale (`errors`)."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot; groups of series that share their places on the horizontal axis."""

    identity: str
    title: str
    x: Literal["time", "quantile", "rate", "clients"]
    unit: Unit
    groups: list[tuple[list[float], list[Line]]]
    header: Sequence[str] = ()
    """Of the table."""
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    marks: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """Vertical lines, with what they tell."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(_known(line.values) for _, lines in self.groups for line in lines)

    @property
    def is_log(self) -> bool:
        """Whether values are so far apart that only a logarithmic axis shows them all."""
        drawn = [line.values for _, lines in self.groups for line in lines if line.style != "errors"]
        known = [value for values in drawn for value in _known(values)]
        return self.unit == "seconds" and bool(known) and min(known) > 0 and max(known) > LOG_RATIO * min(known)

    def document(self) -> dict[str, Any]:
        """Return what the page's script draws."""
        return {
            "id": self.identity,
            "x": self.x,
            "unit": self.unit,
            "log": self.is_log,
            "tables": [
                [[round(at, 4) for at in x], *([_short(value) for value in line.values] for line in lines)]
                for x, lines in self.groups
            ],
            "series": [
                {"label": line.label, "color": line.color, "style": line.style, "unit": line.unit or self.unit}
                for _, lines in self.groups
                for line in lines
            ],
            "marks": [{"at": round(at, 4), "label": label} for at, label in self.marks],
        }

    def figure(self) -> Markup:
        """Return its place in the page, or the word that there is nothing."""
        title = element("h3", self.title)
        note = element("p", self.note, class_="note") if self.note else Markup()
        if self.is_empty:
            return element("figure", title, element("p", "Nothing was measured.", class_="note"))
        labels = ", ".join(line.label for _, lines in self.groups for line in lines)
        said = f"{self.title}: {labels}. The same as a table follows."
        canvas = element("div", class_="plot", id=f"plot-{self.identity}", role="img", aria_label=said)
        return element("figure", title, note, canvas, self._table())

    def _table(self) -> Markup:
        return element("details", element("summary", "As a table"), table(self.header, self.rows))


def quantile_place(quantile: float, count: int) -> float:
    """Return where a quantile stands on an axis that gives each further nine as much room: 0.9 at 1, 0.99 at 2.

    The largest of all would stand at infinity; it stands where half a job would be above it.
    """
    return -math.log10(max(1 - quantile, 0.5 / max(count, 1)))


def plots_section(title: str, plots: Iterable[Plot], *, class_: str = "", note: str = "") -> Markup:
    """Return a section of some plots beside or below each other."""
    words = element("p", note, class_="note hint") if note else Markup()
    figures = element("div", (plot.figure() for plot in plots), class_=f"plots {class_}".strip())
    return element("section", element("h2", title), words, figures)


def _known(values: Numbers) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _short(value: float | None) -> float | int | None:
    """Return a number to five digits: no pixel sees more."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.5g}")
    return int(rounded) if rounded.is_integer() else rounded
