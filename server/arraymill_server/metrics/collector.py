"""The metrics of one server as the client library of Prometheus wants them: read when somebody asks, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from arraymill_server.metrics.counts import Histogram
from arraymill_server.metrics.families import FAMILIES, Family, Kind, Labels, Reading, Value


def registry_of(read: Callable[[], Reading]) -> CollectorRegistry:
    """Return a registry of its own for a server, with the metrics of the process.

    Args:
        read: Returns the values of all families; called in the thread of whoever asks.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServerCollector(read))
    ProcessCollector(registry=registry)
    return registry


class ServerCollector(Collector):
    """Turns a reading into samples.

    Args:
        read: As of `registry_of`.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read

    def __repr__(self) -> str:
        return f"<ServerCollector of {len(FAMILIES)} metrics>"

    def describe(self) -> Iterable[Metric]:
        """Return all metrics without values."""
        return [_metric(family, {}) for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with their values, which are all of one moment."""
        reading = self._read()
        return [_metric(family, _labelled(reading[family.name])) for family in FAMILIES]


def _labelled(value: Value | Mapping[Labels, Value]) -> Mapping[Labels, Value]:
    return value if isinstance(value, Mapping) else {(): value}


def _metric(family: Family, values: Mapping[Labels, Value]) -> Metric:
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in values.items():
            assert isinstance(value, Histogram)
            histogram.add_metric(labels, _buckets(value), value.sum)
        return histogram
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = make(family.name, family.help, labels=family.labels)
    for labels, value in values.items():
        assert not isinstance(value, Histogram)
        metric.add_metric(labels, value)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return how many values are at most each bound, as the library writes it."""
    bounds = [*map(repr, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
