"""The profile `observe`: the real configuration of Prometheus scrapes the real server, and its alerts fire.

The official images cannot be had everywhere: Debian's Prometheus stands in, in an image that is started as that one is.
Grafana has no stand-in; its dashboard is held to its queries, which that Prometheus must be able to answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from container.commands import ROOT, first_health, run
from container.stack import Stack, Stacks, wait_until
from container.tools import unpack

import arraymill as am

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

FOLDER = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/dashboards/arraymill.json"

STAND_IN = """
FROM {base}
COPY usr/bin/prometheus usr/bin/promtool /usr/bin/
RUN install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
ENTRYPOINT ["prometheus"]
"""

FETCH = "import urllib.request as r; print(r.urlopen('http://localhost:9464/metrics').read().decode())"

EMPTY_WHEN_ALL_IS_WELL = ("refusals", "worker_restarts", "ALERTS")
"""Of the dashboard's queries: parts of those that have no answer from a server that nothing has happened to."""


@pytest.fixture(scope="module")
def prometheus(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of Debian's Prometheus."""
    context = unpack("prometheus promtool", base, tmp_path_factory.mktemp("prometheus"))
    (context / "Dockerfile").write_text(STAND_IN.format(base=base))
    run("docker", "build", "--tag", "arraymill-test-prometheus", context, seconds=120)
    return "arraymill-test-prometheus"


@pytest.fixture(scope="module")
def observed(stacks: Stacks, prometheus: str) -> Iterator[Stack]:
    """A server that has done jobs, and Prometheus, which has seen it."""
    with stacks(ARRAYMILL_PROMETHEUS_IMAGE=prometheus) as stack:
        stack.up("server", "prometheus")
        assert first_health(stack.id_of("prometheus")) == "healthy"
        with am.Client(f"127.0.0.1:{stack.port}") as mill:
            for _ in range(20):
                mill.sum(np.ones(100_000))
        wait_until(lambda: bool(answer(stack, "rate(arraymill_jobs_total[1m])")))
        yield stack


def ask(stack: Stack, path: str, **parameters: str) -> Any:
    """What Prometheus' interface answers."""
    query = urllib.parse.urlencode(parameters)
    url = f"http://127.0.0.1:{stack.env['ARRAYMILL_PROMETHEUS_PORT']}/api/v1/{path}?{query}"
    with urllib.request.urlopen(url, timeout=20) as response:
        told = json.load(response)
    assert told["status"] == "success"
    return told["data"]


def answer(stack: Stack, expression: str) -> list[Any]:
    """The samples of an expression now."""
    found: list[Any] = ask(stack, "query", query=expression)["result"]
    return found


def promtool(image: str, *arguments: str, folder: Path = FOLDER, text: str = "") -> str:
    """Run promtool beside the files of a folder; it must have nothing to say against them."""
    options = ("--rm", "--interactive", "--network=none", f"--volume={folder}:/here:ro", "--workdir=/here")
    command = ["docker", "run", *options, "--user=0", "--entrypoint=promtool", image, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def queries() -> list[str]:
    """Every query of the dashboard's panels, with its variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    texts = [target["expr"] for panel in panels for target in panel["targets"]]
    return [text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in texts]


def test_promtool_takes_the_configuration_and_the_rules(prometheus: str) -> None:
    assert "1 rule files found" in promtool(prometheus, "check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool(prometheus, "check", "rules", "rules.yml")


def test_the_unit_tests_of_the_rules_pass(prometheus: str) -> None:
    assert "SUCCESS" in promtool(prometheus, "test", "rules", "rules_test.yml")


def test_the_unit_tests_of_the_rules_can_fail(prometheus: str, tmp_path: Path) -> None:
    for name in ("rules.yml", "rules_test.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    rules = tmp_path / "rules.yml"
    rules.write_text(rules.read_text().replace("for: 30s", "for: 5m"))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool(prometheus, "test", "rules", "rules_test.yml", folder=tmp_path)


def test_the_servers_metrics_are_as_promtool_wants_them(observed: Stack, prometheus: str) -> None:
    text = run("docker", "exec", observed.container, "python", "-c", FETCH)
    assert promtool(prometheus, "check", "metrics", text=text) == ""


def test_the_server_is_scraped(observed: Stack) -> None:
    (target,) = ask(observed, "targets")["activeTargets"]
    assert (target["labels"]["instance"], target["health"]) == ("server:9464", "up")


def test_the_rules_are_loaded_and_can_be_evaluated(observed: Stack) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in ask(observed, "rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert {rule["health"] for rule in rules()} == {"ok"}
    assert {rule["state"] for rule in rules() if rule["type"] == "alerting"} == {"inactive"}


def test_prometheus_answers_the_dashboards_queries(observed: Stack) -> None:
    empty = [query for query in queries() if not answer(observed, query)]
    assert [query for query in empty if not any(part in query for part in EMPTY_WHEN_ALL_IS_WELL)] == []


def test_an_alert_fires_when_the_server_is_gone_and_ends_when_it_is_back(observed: Stack) -> None:
    """The last test of the module: it takes the server away."""

    def firing() -> set[str]:
        alerts = ask(observed, "alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    container = observed.container
    run("docker", "stop", "--time=40", container)
    wait_until(lambda: "ArraymillDown" in firing(), seconds=90)
    run("docker", "start", container)
    wait_until(lambda: "ArraymillDown" not in firing(), seconds=60)
