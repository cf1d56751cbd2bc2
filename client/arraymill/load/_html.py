"""The HTML report: one file that holds its plots, its data and their script, and asks no network for anything.

All of it is made of `_markup.element`, which escapes what it is given; a policy in the page's head lets nothing run but
the two scripts whose hashes it names, and nothing be fetched. Without a script the tables tell the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Final

from arraymill.load._figures import report_title
from arraymill.load._html_comparison import comparison_body
from arraymill.load._html_report import report_body
from arraymill.load._markup import Markup, data_script, element
from arraymill.load._plots import Plot
from arraymill.load._report import Report

_SCRIPTS: Final = {"plotter": "vendor/uPlot.iife.min.js", "script": "page/report.js"}
_STYLES: Final = ("vendor/uPlot.min.css", "page/report.css")


def render(report: Report) -> str:
    """Return the page of one run."""
    return _page(report_title(report), report.arraymill, *report_body(report))


def render_comparison(before: Report, after: Report) -> str:
    """Return the page of two runs over each other."""
    title = f"{report_title(before)} against {report_title(after)}"
    return _page(title, after.arraymill, *comparison_body(before, after))


def _page(title: str, version: str, body: Markup, plots: Sequence[Plot]) -> str:
    scripts = {name: _text(path) for name, path in _SCRIPTS.items()}
    style = "\n".join(map(_text, _STYLES))
    shown = [plot.document() for plot in plots if not plot.is_empty]
    return Template(_text("page/report.html")).substitute(
        title=element("title", title),
        version=element("meta", content=f"arraymill {version}", name="generator"),
        body=body,
        data=data_script("plots", shown),
        style=style,
        style_hash=_hash(style),
        script_hashes=" ".join(map(_hash, scripts.values())),
        **scripts,
    )


def _hash(text: str) -> str:
    """Return how a content security policy names a text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _text(path: str) -> str:
    return files("arraymill.load").joinpath(path).read_text("utf-8")
