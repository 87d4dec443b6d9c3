"""What the kubelet counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class KubeletMetrics:
    """Counters, gauges and histograms of one kubelet in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.nodes = Gauge("fita_kubelet_nodes", "Nodes whose device is there", registry=registry)
        self.pods = Gauge("fita_kubelet_pods", "Pods bound to the gateway's nodes", registry=registry)
        self.pods_running = Gauge(
            "fita_kubelet_pods_running", "Pods whose service runs, as its device says", registry=registry
        )
        self.deploy = Histogram(
            "fita_kubelet_deploy_seconds",
            "From the start of an attempt until the device says that the service runs",
            buckets=_SECONDS,
            registry=registry,
        )
        self.failures = Counter(
            "fita_kubelet_failures", "Vain attempts to run a pod", ["reason"], registry=registry
        )
        self.register_to_ready = Histogram(
            "fita_kubelet_register_to_ready_seconds",
            "From a device's registration until its node is Ready",
            buckets=_SECONDS,
            registry=registry,
        )
        self.bound_to_running = Histogram(
            "fita_kubelet_bound_to_running_seconds",
            "From when the gateway sees a pod on its node until its status is Running",
            buckets=_SECONDS,
            registry=registry,
        )
        self.patches = Counter("fita_kubelet_patches", "Writes to the API server", ["kind"], registry=registry)

    def watch(
        self, *, nodes: Callable[[], float], pods: Callable[[], float], pods_running: Callable[[], float]
    ) -> None:
        """Read the gauges from these whenever somebody asks."""
        self.nodes.set_function(nodes)
        self.pods.set_function(pods)
        self.pods_running.set_function(pods_running)
