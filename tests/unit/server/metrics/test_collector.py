"""The registry of a server: what the library writes is what was read, and no two servers share anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from scrapes import OPENMETRICS, openmetrics_kinds, samples

from arraymill_server.metrics.collector import ServerCollector, registry_of
from arraymill_server.metrics.counts import Histogram
from arraymill_server.metrics.families import FAMILIES, Kind, Labels, Reading, Value


def histogram(*values: float) -> Histogram:
    made = Histogram((0.001, 1.0))
    for value in values:
        made.add(value)
    return made


def reading(**values: Any) -> Reading:
    """Return a reading of zeros but for some values."""
    made: dict[str, Value | Mapping[Labels, Value]] = {}
    for family in FAMILIES:
        nothing: Value = histogram() if family.kind is Kind.HISTOGRAM else 0
        made[family.name] = {("a",) * len(family.labels): nothing} if family.labels else nothing
    return {**made, **{f"arraymill_{name}": value for name, value in values.items()}}


def told_by(registry: CollectorRegistry) -> dict[str, float]:
    return samples(generate_latest(registry).decode())


def test_values_are_told_with_their_labels() -> None:
    lags = histogram(0.0005, 0.5, 0.5, 7.0)
    values = {"arena_bytes": 2**40 + 1, "jobs_total": {("sum", "failed"): 3}, "event_loop_lag_seconds": lags}
    told = told_by(registry_of(lambda: reading(**values)))
    assert told["arraymill_arena_bytes"] == 2**40 + 1
    assert told["arraymill_jobs_total{operation=sum,outcome=failed}"] == 3
    buckets = {key: value for key, value in told.items() if key.startswith("arraymill_event_loop_lag_seconds")}
    assert buckets == {
        "arraymill_event_loop_lag_seconds_bucket{le=0.001}": 1,
        "arraymill_event_loop_lag_seconds_bucket{le=1.0}": 3,
        "arraymill_event_loop_lag_seconds_bucket{le=+Inf}": 4,
        "arraymill_event_loop_lag_seconds_count": 4,
        "arraymill_event_loop_lag_seconds_sum": 8.0005,
    }


def test_every_family_and_the_process_are_told() -> None:
    text = generate_latest(registry_of(reading)).decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {family.name for family in FAMILIES} <= names
    assert {name for name in names if not name.startswith("arraymill_")} >= {"process_cpu_seconds_total"}
    assert all(name.startswith(("arraymill_", "process_")) for name in names)


def test_it_is_valid_openmetrics() -> None:
    encode, _ = choose_encoder(OPENMETRICS)
    kinds = openmetrics_kinds(encode(registry_of(reading)).decode())
    for family in FAMILIES:
        assert kinds[family.name.removesuffix("_total")] == family.kind


def test_registries_share_nothing_and_the_global_one_knows_none_of_it() -> None:
    one, other = registry_of(lambda: reading(workers=1)), registry_of(lambda: reading(workers=2))
    assert told_by(one)["arraymill_workers"] == 1
    assert told_by(other)["arraymill_workers"] == 2
    assert b"arraymill" not in generate_latest(REGISTRY)


def test_nothing_is_read_before_somebody_asks() -> None:
    def read() -> Reading:
        pytest.fail("read")

    assert registry_of(read)
    assert repr(ServerCollector(read)) == f"<ServerCollector of {len(FAMILIES)} metrics>"


def test_one_metric_can_be_asked_for() -> None:
    restricted = registry_of(lambda: reading(workers=7)).restricted_registry(["arraymill_workers"])
    assert [sample.value for metric in restricted.collect() for sample in metric.samples] == [7]
