"""Prometheus metrics: the outputs of services as gauges with their own times, and the gateway's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
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


class GaugeCollector(Collector):
    """Gauges read from their owner at scrape time: name -> (help, reading)."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(name, text, value=read()) for name, (text, read) in self._gauges.items()]


def make_registry(store: OutputStore, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> CollectorRegistry:
    """A registry of its own, so that two gateways in one process do not share series."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(OutputCollector(store))
    registry.register(GaugeCollector(gauges))
    return registry
