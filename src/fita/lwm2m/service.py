"""The services of one device as last heard of: object 9 and its monitoring in the words of the kubelet. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from typing import NamedTuple

from fita.lwm2m.codec.content import Values
from fita.lwm2m.objects.software import SoftwareManagement, SoftwareMonitoring, UpdateState
from fita.model.runtime import ServicePhase, ServiceStatus, WorkloadId
from fita.model.service import ServiceManifest

_PHASES = {str(phase): phase for phase in ServicePhase}


class Claim(NamedTuple):
    """Whose an instance is that cannot say so itself: it lives on a device that knows no workloads."""

    workload: WorkloadId
    digest: str


def phase_of(instance: SoftwareManagement) -> ServicePhase:
    """The phase a device reports; one that reports none runs what is installed and activated."""
    phase = _PHASES.get(instance.phase or "")
    if phase is not None:
        return phase
    if instance.update_state != UpdateState.INSTALLED:
        return ServicePhase.INSTALLING
    return ServicePhase.RUNNING if instance.activation_state else ServicePhase.STOPPED


def is_half_finished(instance: SoftwareManagement) -> bool:
    """Whether nothing is installed there. An installed service with a half-finished update is not."""
    return phase_of(instance) is ServicePhase.INSTALLING


class ServiceTable:
    """Instances of object 9 by id. `on_change(instance)` is called for every service whose status has changed.

    `claims` says whose the instances of a device without resource 27510 are; it outlives the table, but not the
    gateway.
    """

    def __init__(self, claims: MutableMapping[int, Claim], on_change: Callable[[int], None]) -> None:
        self._instances: dict[int, SoftwareManagement] = {}
        self._monitoring: dict[int, SoftwareMonitoring] = {}
        self._claims = claims
        self._on_change = on_change
        self._heard = asyncio.Event()

    def __contains__(self, instance: int) -> bool:
        return instance in self._instances

    def get(self, instance: int) -> SoftwareManagement | None:
        """An instance as last heard of."""
        return self._instances.get(instance)

    def instances(self) -> Mapping[int, SoftwareManagement]:
        """All instances, by id."""
        return dict(sorted(self._instances.items()))

    def statuses(self) -> dict[int, ServiceStatus]:
        """All services, by instance."""
        return {instance: self.status(instance) for instance in sorted(self._instances)}

    def status(self, instance: int) -> ServiceStatus:
        """One service. Raises `KeyError` if it is not there."""
        found = self._instances[instance]
        usage = self._monitoring.get(instance) or SoftwareMonitoring(instance, {})
        return ServiceStatus(
            workload=self.workload(found),
            instance=instance,
            name=found.package_name or "",
            version=found.package_version or "",
            digest=self._digest(found),
            phase=phase_of(found),
            memory_bytes=usage.memory_bytes,
            cpu_percent=usage.cpu_percent,
            uptime_s=usage.uptime_s,
            restart_count=found.restart_count or 0,
            error=found.last_error or usage.error or "",
        )

    def workload(self, instance: SoftwareManagement) -> WorkloadId:
        """Whose an instance is, ``""`` if nobody's."""
        if instance.workload is not None:
            return WorkloadId(instance.workload)
        claim = self._claims.get(instance.instance_id)
        return claim.workload if claim else WorkloadId("")

    def _digest(self, instance: SoftwareManagement) -> str:
        if instance.digest is not None:
            return instance.digest
        claim = self._claims.get(instance.instance_id)
        return claim.digest if claim else ""

    def claim(self, instance: int, claim: Claim) -> None:
        """Remember whose an instance is; of no effect where the device says it itself."""
        self._claims[instance] = claim

    def adoptable(self, manifest: ServiceManifest) -> int | None:
        """An installed service of this name and version that nobody claims, on a device that knows no workloads.

        That is how a restarted gateway finds its services again there. Two builds of one version look the same.
        """
        for instance, found in self.instances().items():
            if (
                found.workload is None
                and instance not in self._claims
                and not is_half_finished(found)
                and (found.package_name, found.package_version) == (manifest.name, str(manifest.version))
            ):
                return instance
        return None

    # What was heard

    def replace(self, values: Values) -> None:
        """Take the whole object 9 as read."""
        found = SoftwareManagement.all_from(values)
        for gone in {*self._instances, *self._claims} - set(found):
            self.remove(gone)
        for instance, item in found.items():
            self._put(instance, item)
        self._wake()

    def update(self, instance: int, values: Values) -> None:
        """Take one instance as read or notified."""
        item = SoftwareManagement.all_from(values).get(instance)
        if item is not None:
            self._put(instance, item)
            self._wake()

    def remove(self, instance: int) -> None:
        """The instance is gone."""
        self._claims.pop(instance, None)
        self._monitoring.pop(instance, None)
        if self._instances.pop(instance, None) is not None:
            self._on_change(instance)
            self._wake()

    def monitor(self, values: Values) -> None:
        """Take object 35003 as read. It is no reason to tell anybody: figures change all the time."""
        found = SoftwareMonitoring.all_from(values).values()
        self._monitoring = {
            item.link.instance_id: item
            for item in found
            if item.link is not None and item.link.object_id == SoftwareManagement.object_id
        }

    async def heard(self) -> None:
        """Return as soon as anything is heard of any instance."""
        await self._heard.wait()

    def _put(self, instance: int, item: SoftwareManagement) -> None:
        before = self.status(instance) if instance in self._instances else None
        self._instances[instance] = item
        if before != self.status(instance):
            self._on_change(instance)

    def _wake(self) -> None:
        self._heard.set()
        self._heard = asyncio.Event()
