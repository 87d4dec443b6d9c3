"""Reads what is on a device when it has registered, and removes services that nothing wants any more.

A service belongs to the pod whose uid is in its workload. Is that pod gone (force-deleted, evicted while the
device was away), or bound to another node, the service goes. Services without a workload were installed by
others and stay; only half an upload, which an interrupted deployment of this gateway has left, goes too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from fita.base.backoff import Backoff
from fita.kube.queue import WorkQueue
from fita.kubelet.device import Device, DeviceTable
from fita.kubelet.interfaces import DeviceRuntime
from fita.kubelet.pod.index import PodIndex, workload_of
from fita.model.device import Endpoint
from fita.model.runtime import DeployError, ServicePhase, ServiceStatus

log = structlog.get_logger(__name__)

WORKERS = 128
READ_DEADLINE_S = 60.0
REMOVE_DEADLINE_S = 60.0


class ServiceSweeper:
    """One queue of devices to look at. `on_known` hears of each whose services have been read, or could not be."""

    def __init__(
        self,
        *,
        devices: DeviceTable,
        runtime: DeviceRuntime,
        pods: PodIndex,
        on_known: Callable[[Device], None],
        on_removed: Callable[[Device], None],
    ) -> None:
        self._devices = devices
        self._runtime = runtime
        self._pods = pods
        self._on_known = on_known
        self._on_removed = on_removed
        self._queue: WorkQueue[Endpoint] = WorkQueue(
            self.sweep, workers=WORKERS, name="services", backoff=lambda: Backoff(initial_s=2, limit_s=120)
        )

    async def run(self) -> None:
        """Sweep, for ever. The pods must have been read before, or everything would look unwanted."""
        await self._queue.run()

    def add(self, endpoint: Endpoint) -> None:
        """Look at a device."""
        self._queue.add(endpoint)

    async def sweep(self, endpoint: Endpoint) -> float | None:
        """Read the device's services if it has registered anew, then remove those that nothing wants."""
        device = self._devices.get(endpoint)
        if device is None or not device.online:
            return None
        if not device.known and not await self._read(device):
            return None
        for instance, service in list(self._runtime.services(endpoint).items()):
            if device.known and self._is_unwanted(service, device):
                await self._remove(device, instance, service)
        return None

    async def _read(self, device: Device) -> bool:
        """Whether the services are known now. Raises `DeployError` when the device does not answer."""
        registrations = device.registrations
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                await self._runtime.read_services(device.endpoint)
        except (DeployError, TimeoutError) as error:
            if device.online and device.registrations == registrations:
                device.unread_because = str(error) or f"no answer within {READ_DEADLINE_S:g} s"
                self._on_known(device)
            raise
        if not device.online or device.registrations != registrations:
            self._queue.add(device.endpoint)
            return False
        device.known = True
        device.unread_because = ""
        self._on_known(device)
        return True

    def _is_unwanted(self, service: ServiceStatus, device: Device) -> bool:
        if not service.workload:
            return service.phase is ServicePhase.INSTALLING and device.worker is None
        pod = self._pods.of_workload(service.workload)
        return pod is None or pod.spec.node_name != device.node or workload_of(pod) != service.workload

    async def _remove(self, device: Device, instance: int, service: ServiceStatus) -> None:
        log.info(
            "removing a service without a pod", device=device.endpoint, service=service.name, instance=instance
        )
        async with asyncio.timeout(REMOVE_DEADLINE_S):
            await self._runtime.remove(device.endpoint, instance)
        self._on_removed(device)
