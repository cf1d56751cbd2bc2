"""The page: whole, harmless, and without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import report_pages as pages

from arraymill.load._html import render, render_comparison
from arraymill.load._report import Report, Verdict

VOID = {"meta", "link"}
MAKERS: list[Callable[[], Report]] = [
    pages.report,
    pages.stepped,
    pages.one_second,
    pages.nothing,
    pages.all_errors,
    pages.hostile,
    pages.long_unbroken,
]


class Page(HTMLParser):
    """A page as a browser reads it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open, "elements are closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.content.setdefault(self.open[-1], []).append(data)
        else:
            self.text += data


@pytest.mark.parametrize("make", MAKERS)
def test_a_page_is_whole_and_fetches_nothing(make: Callable[[], Report]) -> None:
    text = render(make())
    read = Page(text)
    text.encode()
    assert {tag for tag, _ in read.tags} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer", "section", "figure"),
        *("div", "span", "p", "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "strong", "button", "script"),
        *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "svg", "g", "rect"),
    }
    assert [told for tag, told in read.tags if tag == "link"] == [{"rel": "icon", "href": "data:,"}]
    assert not [name for _, told in read.tags for name in told if name.startswith("on") or name in ("src", "style")]
    assert "url(" not in read.content["style"][0]
    assert "@import" not in read.content["style"][0]


@pytest.mark.parametrize("make", MAKERS)
def test_what_may_run_is_what_is_there(make: Callable[[], Report]) -> None:
    read = Page(render(make()))
    (policy,) = (told["content"] for tag, told in read.tags if tag == "meta" and "http-equiv" in told)
    data, *scripts = read.content["script"]
    json.loads(data)
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (*scripts, *read.content["style"])
    ]
    assert policy == (
        f"default-src 'none'; script-src {hashes[0]} {hashes[1]}; style-src {hashes[2]}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_every_plot_has_a_place_and_a_table() -> None:
    text = render(pages.stepped())
    read = Page(text)
    drawn = [plot["id"] for plot in json.loads(read.content["script"][0])]
    assert drawn == ["latency", "percentiles", "rate", "jobs", "bytes", "server-count", "server-bytes"]
    places = [told["id"] for tag, told in read.tags if tag == "div" and "id" in told]
    assert places == [f"plot-{name}" for name in drawn]
    assert text.count("<summary>As a table</summary>") == len(drawn) + 1, "and the time split"


def test_a_reader_sees_the_verdict_first() -> None:
    told = Page(render(pages.stepped())).text
    order = [
        "Failed: p99>50ms (187 ms measured)",
        "limit at 8,000 jobs/s: ",
        "Passed: not throughput<2000/s",
        "Figures",
    ]
    assert [told.index(words) for words in order] == sorted(told.index(words) for words in order)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict(condition="error-rate>1%", value=0.5, is_met=True), "Failed: error-rate>1% (50 % measured)"),
        (Verdict(condition="p99.9 > 1s", value=0.25, is_met=False), "Passed: not p99.9 > 1s (250 ms measured)"),
        (Verdict(condition="errors>0", value=12345.0, is_met=True), "errors>0 (12,345 measured)"),
        (Verdict(condition="knee<100/s", value=None, is_met=True), "knee<100/s (nothing measured)"),
        (Verdict(condition="bandwidth<1GiB/s", value=float(2 << 30), is_met=False), "(2 GiB/s measured)"),
        (Verdict(condition="", value=1.0, is_met=True), " (1 measured)"),
    ],
)
def test_a_verdict_has_the_unit_of_what_it_names(verdict: Verdict, words: str) -> None:
    assert words in Page(render(replace(pages.report(), verdicts=[verdict]))).text


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (pages.nothing(), "Ended early: the server was lost: connection refused"),
        (pages.nothing(), "No job ended well"),
        (pages.report(replace(pages.step(), wrong=2)), "Wrong answers: 2 of 1,200 checked answers differ"),
        (pages.all_errors(), "Failed: error-rate>1% (100 % measured)"),
        (replace(pages.report(), steps=[]), "No job ended well"),
        (replace(pages.report(), began="2026-03-01T09:30:00+02:00"), "2026-03-01 07:30:00 UTC"),
        (replace(pages.report(), began="yesterday"), "yesterday"),
        (replace(pages.report(), title=""), "Load test of localhost:50051"),
        (replace(pages.stepped(), knee=None), "No knee: it is below the first rate"),
        (replace(pages.report(), began="0001-01-01T00:00:00+12:00"), "0001-01-01T00:00:00+12:00"),
    ],
)
def test_what_a_reader_must_know(report: Report, words: str) -> None:
    assert words in Page(render(report)).text.replace("\u00a0", " ")


def test_many_limits_are_one_line() -> None:
    limit = replace(pages.step().generator, is_limit=True, reason="too slow")
    steps = [replace(pages.step(float(rate), number=1), generator=limit) for rate in range(10, 90, 10)]
    told = Page(render(pages.report(*steps))).text
    assert told.count("The load tester was the limit") == 1
    assert "limit at 10 jobs/s, 20 jobs/s, 30 jobs/s, 40 jobs/s, 50 jobs/s and 3 more: too slow" in told


def test_a_run_without_conditions_has_no_verdict() -> None:
    assert "Passed" not in Page(render(replace(pages.report(), verdicts=[]))).text


def test_many_steps_and_long_runs_stay_small() -> None:
    steps = [pages.step(float(rate), number=5) for rate in range(100, 6_100, 100)]
    assert len(render(pages.report(*steps))) < 300_000
    assert len(render(pages.report(pages.step(number=1800)))) < 400_000


def test_odd_numbers_do_no_harm() -> None:
    odd = replace(pages.distribution(0.0), mean=float("inf"), maximum=float("nan"), minimum=-1.0)
    step = pages.step(number=2)
    parts = [replace(part, latency=odd) for part in step.parts]
    step = replace(
        step, latency=odd, phases={"computed": odd}, parts=parts, jobs_per_second=float("nan"), seconds=1e300
    )
    Page(render(replace(pages.report(step), knee=float("inf"))))
    Page(render_comparison(pages.report(step), pages.report()))


def test_a_comparison_says_first_what_was_different() -> None:
    before = pages.stepped()
    after = replace(before, server={**before.server, "workers": 16}, title="With 16 workers")
    read = Page(render_comparison(before, after))
    order = [
        "Where is the knee? → With 16 workers",
        "One run of each",
        "server.workers416",
        "Load by load",
        "Figures at 6,000 jobs/s",
    ]
    assert [read.text.index(words) for words in order] == sorted(read.text.index(words) for words in order)
    assert [plot["id"] for plot in json.loads(read.content["script"][0])] == [
        *("latency", "percentiles", "rate", "jobs", "bytes"),
    ]


@pytest.mark.parametrize("make", MAKERS)
def test_anything_can_be_compared(make: Callable[[], Report]) -> None:
    text = render_comparison(make(), pages.report(title="other"))
    Page(text)
    assert not re.search(r"<(img|script>alert)", text)
    Page(render_comparison(pages.stepped(), make()))
