"""The dashboard, the rules and the scrape configuration name what the server tells, and nothing else."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from arraymill_proto.errors import Reason
from arraymill_server.engine.death import Ending
from arraymill_server.metrics.counts import OUTCOMES, PHASES, TRANSPORTS
from arraymill_server.metrics.families import FAMILIES, Kind

ROOT = Path(__file__).parents[3]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/arraymill.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
RULES = (ROOT / "deploy/prometheus/rules.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", RULES, re.DOTALL)

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds to all that it scrapes."""

MADE = {"up": set[str](), "ALERTS": {"alertname", "alertstate", "severity"}} | {
    name: {"phase"} if "phase" in name else set[str]() for name in re.findall(r"- record: (\S+)", RULES)
}
"""Labels of the series that Prometheus and the rules make."""

VALUES = {
    "outcome": set(OUTCOMES),
    "phase": set(PHASES),
    "transport": set(TRANSPORTS),
    "cause": {ending.value for ending in Ending},
    "reason": {reason.value for reason in Reason},
}
"""What labels can be."""


def exported() -> dict[str, set[str]]:
    """The labels of every series that the server's endpoint has, by its name."""
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    found = {sample.name: set[str]() for metric in process.collect() for sample in metric.samples}
    for family in FAMILIES:
        found[family.name] = set(family.labels)
        if family.kind is Kind.HISTOGRAM:
            del found[family.name]
            found |= {f"{family.name}_{part}": set(family.labels) for part in ("sum", "count")}
            found[f"{family.name}_bucket"] = {*family.labels, "le"}
    return found


LABELS = MADE | exported()


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def rule_queries() -> list[str]:
    """Every expression of the rules, those of several lines joined."""
    found = re.findall(r"^( +)expr: (?:>-\n)?(.*\n(?:\1  .*\n)*)", RULES, re.MULTILINE)
    return [" ".join(text.split()) for _, text in found]


def series(query: str) -> list[tuple[str, dict[str, str]]]:
    """The series that an expression names, each with what it asks of its labels."""
    named = re.findall(r"\b(up|ALERTS|(?:arraymill|process|instance)[_:][\w:]*)\b(?!=)(?:{([^}]*)})?", query)
    return [(name, dict(re.findall(r'(\w+)[=!~]+"([^"]*)"', asked))) for name, asked in named]


@pytest.mark.parametrize("query", [*dashboard_queries(), *rule_queries()])
def test_a_query_names_series_and_labels_that_there_are(query: str) -> None:
    named = series(query)
    assert named, "it names none"
    for name, asked in named:
        assert name in LABELS
        assert set(asked) <= LABELS[name] | SCRAPED
        for label in set(asked) & set(VALUES):
            assert set(asked[label].split("|")) <= VALUES[label]
    labels = SCRAPED.union(*(LABELS[name] for name, _ in named))
    for grouped in re.findall(r"\bby \(([^)]*)\)", query):
        assert set(grouped.split(", ")) <= labels


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for query in dashboard_queries() for name, _ in series(query)}
    assert [family.name for family in FAMILIES if not any(name.startswith(family.name) for name in shown)] == []


def test_panels_have_all_they_need_and_places_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDE"[: len(panel["targets"])])
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_panels_ask_the_data_source_that_is_provisioned() -> None:
    provisioned = (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    (uid,) = re.findall(r"^    uid: (\S+)$", provisioned, re.MULTILINE)
    (variable,) = DASHBOARD["templating"]["list"]
    assert {part["datasource"]["uid"] for part in (*PANELS, variable)} == {uid}
    assert "url: http://prometheus:9090\n" in provisioned


def test_queries_know_one_variable() -> None:
    names = {name for query in dashboard_queries() for name in re.findall(r"\$(\w+)", query)}
    assert names == {"instance", "__rate_interval"}


@pytest.mark.parametrize(("name", "text"), ALERTS)
def test_an_alert_says_what_happened_and_what_to_do_and_is_tested(name: str, text: str) -> None:
    for key in ("summary", "description", "runbook"):
        assert re.search(rf'^          {key}: ".{{20,}}"$', text, re.MULTILINE)
    assert re.search(r"severity: (critical|warning)$", text, re.MULTILINE)
    assert name in (ROOT / "deploy/prometheus/rules_test.yml").read_text()


def test_prometheus_asks_where_the_compose_file_tells_the_server_to_answer() -> None:
    scrape = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    compose = (ROOT / "docker-compose.yml").read_text()
    (port,) = re.findall(r"ARRAYMILL_METRICS_LISTEN: 0\.0\.0\.0:(\d+)", compose)
    assert f'targets: ["server:{port}"]' in scrape
    assert "job_name: arraymill\n" in scrape
