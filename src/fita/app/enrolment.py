"""Who may join: the `Device` custom resources of the cluster, and what is known of each device written back to it.

With open enrolment every endpoint may join; a `Device` that says ``enabled: false`` keeps its endpoint out all the
same. Keys and credentials are not looked at here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from fita.base.clock import Clock, rfc3339
from fita.kube.client import KubernetesClient, PatchStrategy
from fita.kube.errors import NotFoundError
from fita.kube.informer import Informer
from fita.kube.queue import WorkQueue
from fita.kube.resource import DEVICES
from fita.model.device import DeviceProfile, Endpoint
from fita.model.kubernetes import ObjectMeta
from fita.model.runtime import ServiceStatus

WRITE_DEADLINE_S = 10.0
STATUS_WORKERS = 4
log = structlog.get_logger(__name__)


class DeviceSpec(msgspec.Struct, frozen=True):
    """``spec`` of a `Device`. An empty `endpoint` means the resource's own name."""

    endpoint: str = ""
    enabled: bool = True


class DeviceResource(msgspec.Struct, frozen=True):
    """A `Device` as stored in Kubernetes."""

    metadata: ObjectMeta
    spec: DeviceSpec = DeviceSpec()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.spec.endpoint or self.metadata.name)


class Enrolment:
    """Answers `allows` from an informer's memory and reports devices in the status of their resources.

    It is a listener of the LwM2M server. A device without a resource has none made for it.
    """

    def __init__(
        self, client: KubernetesClient, *, is_open: bool, node_name: Callable[[Endpoint], str], clock: Clock
    ) -> None:
        self._client = client
        self._is_open = is_open
        self._node_name = node_name
        self._clock = clock
        self._informer: Informer[DeviceResource] = Informer(client, DEVICES, DeviceResource)
        self._informer.add_listener(self._changed)
        self._by_endpoint: dict[Endpoint, DeviceResource] = {}
        self._online: dict[Endpoint, bool] = {}
        self._queue: WorkQueue[Endpoint] = WorkQueue(self._report, workers=STATUS_WORKERS, name="device-status")

    @property
    def ready(self) -> bool:
        return self._informer.synced

    @property
    def away_s(self) -> float:
        """Seconds since the `Device` resources could last be followed; 0 while they are."""
        return self._informer.away_s

    async def wait_ready(self) -> None:
        """Return once the `Device` resources have been read."""
        await self._informer.wait_synced()

    def allows(self, endpoint: Endpoint) -> bool:
        """Whether a device of this name may register."""
        resource = self._by_endpoint.get(endpoint)
        return resource.spec.enabled if resource is not None else self._is_open

    async def watch(self) -> None:
        """Follow the `Device` resources until cancelled."""
        await self._informer.run()

    async def report(self) -> None:
        """Write the status of devices until cancelled."""
        await self._queue.run()

    def device_joined(self, profile: DeviceProfile) -> None:
        self._note(profile.endpoint, online=True)

    def device_lost(self, endpoint: Endpoint, reason: str) -> None:
        self._note(endpoint, online=False)

    def service_changed(self, endpoint: Endpoint, status: ServiceStatus | None) -> None:
        """Of no interest here."""

    def _note(self, endpoint: Endpoint, *, online: bool) -> None:
        if self._online.get(endpoint) != online:
            self._online[endpoint] = online
            self._queue.add(endpoint)

    def _changed(self, key: str, old: DeviceResource | None, new: DeviceResource | None) -> None:
        if old is not None and (new is None or old.endpoint != new.endpoint):
            self._by_endpoint.pop(old.endpoint, None)
        if new is not None:
            self._by_endpoint[new.endpoint] = new
            if old is None and new.endpoint in self._online:
                self._queue.add(new.endpoint)

    async def _report(self, endpoint: Endpoint) -> float | None:
        resource = self._by_endpoint.get(endpoint)
        online = self._online.get(endpoint)
        if resource is None or online is None:
            return None
        status = {"online": online, "node": self._node_name(endpoint), "lastSeenAt": rfc3339(self._clock())}
        try:
            await self._client.patch(
                DEVICES,
                resource.metadata.name,
                {"status": status},
                subresource="status",
                strategy=PatchStrategy.MERGE,
            )
        except NotFoundError:
            log.info("device resource gone", endpoint=endpoint)
        return None
