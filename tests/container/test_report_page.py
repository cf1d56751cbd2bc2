"""The page of a load test in a real browser: drawn, in both colour schemes, without a word in its console or a request.

Screenshots go to the folder of $ARRAYMILL_SCREENSHOTS, else to a temporary one whose path is printed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import report_pages as pages
from container.commands import missing
from container.tools import playwright_api

from arraymill.load._html import render, render_comparison
from arraymill.load._report import Report

pytestmark = [pytest.mark.container, pytest.mark.timeout(300)]

Scheme = Literal["light", "dark"]

READ = """
const read = (canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, canvas.width, canvas.height).data;
};
"""
"""Reads a copy: Chromium complains in the console when a canvas that is drawn to is read twice."""

PLOTS = f"""() => {{ {READ}
  return [...document.querySelectorAll(".plot")].map((plot) => {{
    const pixels = new Uint32Array(read(plot.querySelector("canvas")).buffer);
    const drawn = pixels.filter(Boolean).length / pixels.length;
    const {{ width }} = plot.querySelector(".u-over").getBoundingClientRect();
    return {{ id: plot.id, colors: new Set(pixels).size, width, drawn }};
  }});
}}"""
"""Of each plot: how many different pixels it has, and the part of them that is not empty."""

HAS_COLOR = f"""([id, name]) => {{ {READ}
  const probe = document.createElement("span");
  probe.style.color = `var(--${{name}})`;
  document.body.append(probe);
  const [red, green, blue] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
  probe.remove();
  const data = read(document.querySelector(`#${{id}} canvas`));
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {{
    count += data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] === 255;
  }}
  return count;
}}"""
"""How many pixels of a plot have a colour of the stylesheet."""


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    given = os.environ.get("ARRAYMILL_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\nscreenshots: {folder}")
    return folder


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A headless Chromium of the system; it ends with the test, which may leave no process."""
    sync_api = playwright_api(monkeypatch)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("no Chromium is installed; on Debian: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


class Visit:
    """One page in one tab, and what it did."""

    def __init__(
        self, browser: Any, path: Path, *, width: int = 1000, scheme: Scheme = "light", scripts: bool = True
    ) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        size = {"width": width, "height": 900}
        self.tab: Any = browser.new_page(viewport=size, color_scheme=scheme, java_script_enabled=scripts)
        self.tab.on("console", self._note)
        self.tab.on("pageerror", self._note)
        self.tab.on("request", self._note_request)
        self.tab.goto(path.as_uri())
        self.path = path

    def _note(self, message: Any) -> None:
        self.said.append(str(message))

    def _note_request(self, request: Any) -> None:
        self.asked.append(request.url)

    def background(self) -> str:
        color: str = self.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return color

    def picture(self, path: Path) -> bytes:
        picture: bytes = self.tab.screenshot(path=path, full_page=True)
        return picture

    def check(self) -> None:
        """Check that nothing was said and nothing fetched."""
        assert not self.said
        assert {url for url in self.asked if url != "data:,"} == {self.path.as_uri()}
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert self.tab.evaluate(overflow) <= 0, "nothing sticks out of the page"


def written(folder: Path, name: str, page: str) -> Path:
    path = folder / f"{name}.html"
    path.write_text(page, "utf-8")
    return path


@pytest.mark.parametrize("width", [1000, 400])
def test_a_page_is_drawn_in_both_schemes(browser: Any, screenshots: Path, tmp_path: Path, width: int) -> None:
    path = written(tmp_path, "stepped", render(pages.stepped()))
    seen: dict[Scheme, tuple[str, bytes]] = {}
    schemes: tuple[Scheme, ...] = ("light", "dark")
    for scheme in schemes:
        visit = Visit(browser, path, width=width, scheme=scheme)
        plots = visit.tab.evaluate(PLOTS)
        assert [plot["id"] for plot in plots] == [
            *("plot-latency", "plot-percentiles", "plot-rate", "plot-jobs", "plot-bytes"),
            *("plot-server-count", "plot-server-bytes"),
        ]
        assert all(plot["colors"] > 10 and plot["drawn"] > 0.01 and plot["width"] > 200 for plot in plots), plots
        for identity, color in (("plot-latency", "orange"), ("plot-latency", "red"), ("plot-rate", "purple")):
            assert visit.tab.evaluate(HAS_COLOR, [identity, color]) > 20, "the series itself, not only its axes"
        text = visit.tab.inner_text("body")
        for words in ("Where is the knee?", "Failed: p99>50ms (187 ms measured)", "11.5 ms", "BusyError", "900"):
            assert words in text
        seen[scheme] = visit.background(), visit.picture(screenshots / f"stepped-{width}-{scheme}.png")
        visit.check()
    assert seen["light"][0] != seen["dark"][0]
    assert seen["light"][1] != seen["dark"][1]


def test_the_switch_goes_before_the_system(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, written(tmp_path, "one", render(pages.report())), scheme="light")
    light, blue = visit.background(), visit.tab.evaluate(HAS_COLOR, ["plot-latency", "blue"])
    visit.tab.click(".theme")
    assert visit.background() != light
    assert visit.tab.evaluate(HAS_COLOR, ["plot-latency", "blue"]) > blue / 2, "drawn anew in the other blue"
    visit.tab.click(".theme")
    assert visit.background() == light
    visit.tab.emulate_media(color_scheme="dark")
    assert visit.background() == light
    visit.check()


def test_a_pointer_reads_values_and_sees_parts(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, written(tmp_path, "one", render(pages.report())))
    over = visit.tab.locator("#plot-latency .u-over")
    over.hover(position={"x": 300, "y": 100})
    legend = visit.tab.locator("#plot-latency .u-legend")
    assert " ms" in legend.inner_text()
    assert "/s" in visit.tab.locator("#plot-jobs .u-legend").inner_text(), "plots over time move together"
    whole = legend.inner_text()
    over.drag_to(over, source_position={"x": 100, "y": 50}, target_position={"x": 200, "y": 50})
    over.hover(position={"x": 300, "y": 100})
    assert legend.inner_text() != whole, "the same place is another time"
    visit.check()


@pytest.mark.parametrize(
    ("make", "plots"),
    [
        (pages.hours, 6),
        (pages.one_second, 6),
        (pages.nothing, 0),
        (pages.all_errors, 3),
        (pages.hostile, 5),
        (pages.long_unbroken, 6),
    ],
)
def test_odd_runs_have_pages_too(
    browser: Any, screenshots: Path, tmp_path: Path, make: Callable[[], Report], plots: int
) -> None:
    path = written(tmp_path, make.__name__, render(make()))
    for width in (1000, 400):
        visit = Visit(browser, path, width=width)
        drawn = visit.tab.evaluate(PLOTS)
        assert len(drawn) == plots
        assert all(plot["colors"] > 3 for plot in drawn), drawn
        assert visit.tab.locator("img").count() == 0
        visit.picture(screenshots / f"{path.stem}-{width}.png")
        visit.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_comparison_shows_both_runs(browser: Any, screenshots: Path, tmp_path: Path, scheme: Scheme) -> None:
    before = pages.stepped()
    faster = pages.report(*(pages.step(step.rate, middle=0.001, number=20) for step in before.steps), title="Faster")
    visit = Visit(browser, written(tmp_path, "both", render_comparison(before, faster)), scheme=scheme)
    for color in ("grey", "blue"):
        assert visit.tab.evaluate(HAS_COLOR, ["plot-percentiles", color]) > 20
    assert "Where is the knee? → Faster" in visit.tab.inner_text("h1")
    assert "lower, better" in visit.tab.inner_text("body")
    visit.picture(screenshots / f"comparison-{scheme}.png")
    visit.check()


def test_paper_is_white(browser: Any, screenshots: Path, tmp_path: Path) -> None:
    visit = Visit(browser, written(tmp_path, "one", render(pages.report())), scheme="dark")
    visit.tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    visit.tab.emulate_media(media="print")
    assert visit.background() == "rgb(255, 255, 255)"
    visit.picture(screenshots / "print.png")
    visit.tab.emulate_media(media="screen")
    visit.tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert visit.background() != "rgb(255, 255, 255)"
    visit.check()


def test_without_a_script_the_tables_are_there(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, written(tmp_path, "one", render(pages.report())), scripts=False)
    visit.tab.locator("summary").first.click()
    assert visit.tab.locator("details[open] td").first.is_visible()
    assert not visit.tab.locator(".theme").is_visible()
    visit.check()
