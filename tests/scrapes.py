"""What Prometheus sees of a server: a scrape, read by the parser of the client library."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

SECONDS: Final = 20

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"


def scrape(port: int, accept: str = "") -> str:
    """Return what an endpoint on this machine tells."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == http.client.OK, text
        return text
    finally:
        connection.close()


def samples(text: str) -> dict[str, float]:
    """Return the values of a scrape by name and labels, as `name{label=value,…}` in the order of labels."""
    return {
        _key(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def openmetrics_kinds(text: str) -> dict[str, str]:
    """Return the kinds of the metrics in the strict format."""
    parser: Any = import_module("prometheus_client.openmetrics.parser")
    return {family.name: family.type for family in parser.text_string_to_metric_families(text)}


def _key(name: str, labels: Mapping[str, str]) -> str:
    told = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name}{{{told}}}" if told else name
