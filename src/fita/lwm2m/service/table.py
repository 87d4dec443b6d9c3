"""The services of one device as last heard of: object 9 and its monitoring in the words of the kubelet. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import NamedTuple, NewType

from fita.lwm2m.codec.content import Values
from fita.lwm2m.objects.software import SoftwareManagement, SoftwareMonitoring, UpdateState
from fita.model.runtime import ServicePhase, ServiceStatus, WorkloadId
from fita.model.service import ServiceManifest

_FOLLOWED_STATES = 256  # of a follower that is slow; the oldest go first
_PHASES = {str(phase): phase for phase in ServicePhase}


Mark = NewType("Mark", int)
"""A moment in the series of notifications."""


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
    """Whether an install was begun there and nothing is installed.

    An installed service with a half-finished update is not that. Nor is an empty instance of a device that reports
    no phases: some have a fixed one that cannot be made again.
    """
    if instance.phase is None and instance.update_state == UpdateState.INITIAL:
        return False
    return phase_of(instance) is ServicePhase.INSTALLING


class Follower:
    """The states that an instance goes through, in order; None: it is gone."""

    def __init__(self) -> None:
        self._states: deque[SoftwareManagement | None] = deque(maxlen=_FOLLOWED_STATES)
        self._heard = asyncio.Event()

    def put(self, state: SoftwareManagement | None) -> None:
        self._states.append(state)
        self._heard.set()

    async def next(self) -> SoftwareManagement | None:
        """The next state; waits until there is one."""
        while not self._states:
            self._heard.clear()
            await self._heard.wait()
        return self._states.popleft()


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
        self._followers: dict[int, list[Follower]] = {}
        self._notifications = Mark(0)
        self._notified: dict[int, Mark] = {}  # the last notification of each instance

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
                and phase_of(found) is not ServicePhase.INSTALLING
                and (found.package_name, found.package_version) == (manifest.name, str(manifest.version))
            ):
                return instance
        return None

    # What was heard

    def mark(self) -> Mark:
        """To be taken before a read: what is notified while it is under way may be newer than its answer."""
        return self._notifications

    def notify(self, instance: int, values: Values) -> None:
        """Take one instance as notified."""
        item = SoftwareManagement.all_from(values).get(instance)
        if item is not None:
            self._notifications = Mark(self._notifications + 1)
            self._notified[instance] = self._notifications
            self._put(instance, item)

    def replace(self, values: Values, since: Mark) -> None:
        """Take the whole object 9 as read."""
        found = SoftwareManagement.all_from(values)
        for gone in {*self._instances, *self._claims} - set(found):
            self.remove(gone)
        for instance in found:
            self.update(instance, values, since)

    def update(self, instance: int, values: Values, since: Mark) -> None:
        """Take one instance as read.

        An answer and a notification that are received together are not handled in that order: the notification
        is first. So an answer does not count when a notification came after `since`. Nothing is missed by that,
        because whatever changed after the notification is notified too.
        """
        item = SoftwareManagement.all_from(values).get(instance)
        if item is not None and self._notified.get(instance, 0) <= since:
            self._put(instance, item)

    def remove(self, instance: int) -> None:
        """The instance is gone."""
        self._claims.pop(instance, None)
        self._monitoring.pop(instance, None)
        self._notified.pop(instance, None)
        if self._instances.pop(instance, None) is not None:
            self._tell(instance, None)
            self._on_change(instance)

    def monitor(self, values: Values) -> None:
        """Take object 35003 as read. It is no reason to tell anybody: figures change all the time."""
        found = SoftwareMonitoring.all_from(values).values()
        self._monitoring = {
            item.link.instance_id: item
            for item in found
            if item.link is not None and item.link.object_id == SoftwareManagement.object_id
        }

    @contextmanager
    def following(self, instance: int) -> Iterator[Follower]:
        """Hear of an instance's every state as long as the context lasts, those that end quickly included."""
        follower = Follower()
        self._followers.setdefault(instance, []).append(follower)
        try:
            yield follower
        finally:
            self._followers[instance].remove(follower)
            if not self._followers[instance]:
                del self._followers[instance]

    def _put(self, instance: int, item: SoftwareManagement) -> None:
        before = self.status(instance) if instance in self._instances else None
        self._instances[instance] = item
        self._tell(instance, item)
        if before != self.status(instance):
            self._on_change(instance)

    def _tell(self, instance: int, item: SoftwareManagement | None) -> None:
        for follower in self._followers.get(instance, ()):
            follower.put(item)
