"""Who may join: the `Device` custom resources of the cluster, and what is known of each device written back to it.

With open enrolment every endpoint may join; a `Device` that says ``enabled: false`` keeps its endpoint out all the
same. Where several resources name one endpoint, it may join when none of them says so: whoever keeps it out is
obeyed. Keys and credentials are not looked at here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from fita.app.device import DeviceResource
from fita.base.clock import Clock, rfc3339
from fita.kube.client import KubernetesClient, PatchStrategy
from fita.kube.errors import NotFoundError
from fita.kube.informer import Informer
from fita.kube.queue import WorkQueue
from fita.kube.resource import DEVICES, RawObject
from fita.kubelet.deadline import api_deadline, remaining
from fita.model.device import DeviceProfile, Endpoint
from fita.model.runtime import ServiceStatus

STATUS_WORKERS = 4
DEFAULT_LIFETIME_S = 300
"""How long a device may stay away after a restart whose status does not say its lifetime."""

log = structlog.get_logger(__name__)


class _Seen(NamedTuple):
    """What this gateway knows of a device; `at` is wall time, "" for what it was not there to see."""

    online: bool
    lifetime_s: int
    at: str


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
        self._by_endpoint: dict[Endpoint, dict[str, DeviceResource]] = {}
        self._seen: dict[Endpoint, _Seen] = {}
        self._expected_until: dict[Endpoint, float] = {}  # of those that another gateway process saw last
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
        resources = self._by_endpoint.get(endpoint)
        return all(each.spec.enabled for each in resources.values()) if resources else self._is_open

    async def watch(self) -> None:
        """Follow the `Device` resources until cancelled."""
        await self._informer.run()

    async def report(self) -> None:
        """Write the status of devices until cancelled."""
        await self._queue.run()

    def device_joined(self, profile: DeviceProfile) -> None:
        self._note(profile.endpoint, online=True, lifetime_s=profile.lifetime_s)

    def device_lost(self, endpoint: Endpoint, reason: str) -> None:
        self._note(endpoint, online=False)

    def service_changed(self, endpoint: Endpoint, status: ServiceStatus | None) -> None:
        """Of no interest here."""

    def _note(self, endpoint: Endpoint, *, online: bool, lifetime_s: int = 0) -> None:
        before = self._seen.get(endpoint)
        if before is None or (before.online, before.lifetime_s) != (online, lifetime_s):
            self._seen[endpoint] = _Seen(online, lifetime_s, rfc3339(self._clock()))
            self._expected_until.pop(endpoint, None)
            self._queue.add(endpoint)

    def _changed(self, key: str, old: DeviceResource | None, new: DeviceResource | None) -> None:
        if old is not None and (new is None or old.endpoint != new.endpoint):
            self._drop(key, old.endpoint)
        if new is None:
            return
        self._by_endpoint.setdefault(new.endpoint, {})[key] = new
        if new.endpoint not in self._seen:
            self._expect(new)
        elif old is None or old.endpoint != new.endpoint:
            self._queue.add(new.endpoint)

    def _drop(self, key: str, endpoint: Endpoint) -> None:
        resources = self._by_endpoint.get(endpoint, {})
        resources.pop(key, None)
        if not resources:
            self._by_endpoint.pop(endpoint, None)

    def _expect(self, resource: DeviceResource) -> None:
        """Wait a lifetime for a device that was online before this process began.

        One that is well updates its registration before that, is told that there is none, and registers anew.
        """
        status, endpoint = resource.status, resource.endpoint
        is_ours = status.online and status.node == self._node_name(endpoint)
        if is_ours and endpoint not in self._expected_until:
            lifetime_s = status.lifetime_seconds or DEFAULT_LIFETIME_S
            self._expected_until[endpoint] = asyncio.get_running_loop().time() + lifetime_s
            self._queue.add(endpoint)

    async def _report(self, endpoint: Endpoint) -> float | None:
        seen = self._seen.get(endpoint)
        if seen is None:
            until = self._expected_until.get(endpoint)
            if until is None:
                return None
            if (left_s := remaining(until)) > 0:
                return left_s
            seen = self._seen[endpoint] = _Seen(online=False, lifetime_s=0, at="")
            del self._expected_until[endpoint]
            log.info("device has not come back", endpoint=endpoint)
        for resource in list(self._by_endpoint.get(endpoint, {}).values()):
            await self._write(resource, self._status(endpoint, seen))
        return None

    def _status(self, endpoint: Endpoint, seen: _Seen) -> RawObject:
        status: RawObject = {"online": seen.online, "node": self._node_name(endpoint)}
        if seen.lifetime_s:
            status["lifetimeSeconds"] = seen.lifetime_s
        if seen.at:
            status["lastSeenAt"] = seen.at
        return status

    async def _write(self, resource: DeviceResource, status: RawObject) -> None:
        try:
            async with api_deadline():
                await self._client.patch(
                    DEVICES,
                    resource.metadata.name,
                    {"status": status},
                    subresource="status",
                    strategy=PatchStrategy.MERGE,
                )
        except NotFoundError:
            log.info("device resource gone", endpoint=resource.endpoint)
