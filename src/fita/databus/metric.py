"""Prometheus metrics: the outputs of services as gauges with their own times, and the gateway's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fita.databus.store import OutputStore

LABELS = ("device", "node", "namespace", "pod", "service", "key", "unit")


class OutputCollector(Collector):
    """``fita_output_value`` and ``fita_output_timestamp_seconds``, one series for each output."""

    def __init__(self, store: OutputStore) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        values = GaugeMetricFamily("fita_output_value", "Latest value of a service's output", labels=LABELS)
        times = GaugeMetricFamily(
            "fita_output_timestamp_seconds", "When the gateway received that value (Unix time)", labels=LABELS
        )
        for output in self._store.latest():
            labels = [getattr(output, label) for label in LABELS]
            values.add_metric(labels, float(output.value))
            times.add_metric(labels, datetime.fromisoformat(output.received_at).timestamp())
        return [values, times]


Figures = Mapping[str, tuple[str, Callable[[], float]]]
"""Name -> (help, reading), read from their owner at scrape time. A counter's name ends in ``_total``."""


class FigureCollector(Collector):
    """Figures of the gateway: `gauges` go up and down, `counters` only grow."""

    def __init__(self, gauges: Figures, counters: Figures) -> None:
        self._gauges = gauges
        self._counters = counters

    def collect(self) -> Iterable[Metric]:
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=read())
        for name, (text, read) in self._counters.items():
            yield CounterMetricFamily(name, text, value=read())


def make_registry(store: OutputStore, *, gauges: Figures, counters: Figures) -> CollectorRegistry:
    """A registry of its own, so that two gateways in one process do not share series."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(OutputCollector(store))
    registry.register(FigureCollector(gauges, counters))
    return registry
