"""Removes services from devices that nothing wants any more.

A service belongs to the pod whose uid is in its workload. Is that pod gone (force-deleted, evicted while the
device was away), or bound to another node, the service goes. Services without a workload were installed by
others and stay.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from fita.base.backoff import Backoff
from fita.kube.queue import WorkQueue
from fita.kubelet.device import Device, DeviceTable
from fita.kubelet.interfaces import DeviceRuntime
from fita.kubelet.pod.deployment import Deployer
from fita.kubelet.pod.index import PodIndex, workload_of
from fita.model.device import Endpoint
from fita.model.runtime import ServiceStatus

log = structlog.get_logger(__name__)

WORKERS = 128


class ServiceSweeper:
    """One queue of devices to look at. `on_removed` hears of each that has room again."""

    def __init__(
        self,
        *,
        devices: DeviceTable,
        runtime: DeviceRuntime,
        pods: PodIndex,
        deployer: Deployer,
        on_removed: Callable[[Device], None],
    ) -> None:
        self._devices = devices
        self._runtime = runtime
        self._pods = pods
        self._deployer = deployer
        self._on_removed = on_removed
        self._queue: WorkQueue[Endpoint] = WorkQueue(
            self.sweep, workers=WORKERS, name="services", backoff=lambda: Backoff(initial_s=5, limit_s=300)
        )

    async def run(self) -> None:
        """Sweep, for ever. The pods must have been read before, or everything would look unwanted."""
        await self._queue.run()

    def add(self, endpoint: Endpoint) -> None:
        """Look at a device."""
        self._queue.add(endpoint)

    async def sweep(self, endpoint: Endpoint) -> float | None:
        """Remove what nothing wants. Raises `PodFailureError` when the device does not do it."""
        device = self._devices.get(endpoint)
        if device is None:
            return None
        for instance, service in list(self._runtime.services(endpoint).items()):
            if device.online and self._is_unwanted(service, device):
                log.info("removing service without pod", device=endpoint, service=service.name, instance=instance)
                await self._deployer.remove(device, instance)
                self._on_removed(device)
        return None

    def _is_unwanted(self, service: ServiceStatus, device: Device) -> bool:
        if not service.workload:
            return False
        pod = self._pods.of_workload(service.workload)
        return pod is None or pod.spec.node_name != device.node or workload_of(pod) != service.workload
