"""One registered device: what is known of it, and the one worker that talks to it.

A session lives as long as a registration. It begins by reading the device, whatever was known before: a device
that registers has forgotten all observations, and may have restarted or been changed meanwhile. A device that does
not answer stays registered until its lifetime ends; its session tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from fita.base.backoff import Backoff
from fita.base.clock import Clock
from fita.lwm2m.device.observer import Observer
from fita.lwm2m.device.operation import OPERATION_ERRORS, Coap, DeviceClient
from fita.lwm2m.device.profile import (
    PROFILE_OBJECTS,
    STATS_OBJECTS,
    device_profile,
    device_stats,
    read_objects,
    with_registration,
)
from fita.lwm2m.device.worker import Worker
from fita.lwm2m.objects.software import SoftwareManagement
from fita.lwm2m.registration import Registration
from fita.lwm2m.service.deployment import Deployment
from fita.lwm2m.service.failure import as_deploy_errors
from fita.lwm2m.service.output import OutputWatcher
from fita.lwm2m.service.software import SoftwareManager
from fita.lwm2m.service.table import Claim, ServiceTable
from fita.model.device import DeviceProfile, DeviceStats
from fita.model.runtime import DeployError, DeployReason, OutputValue, ServiceDeployment, ServiceStatus

log = structlog.get_logger(__name__)

T = TypeVar("T")

POLL_S = 10.0
"""How often a device is asked for what it does not let us observe."""
SHORTEST_RENEWAL_S = 60.0
LONGEST_RENEWAL_S = 3600.0
"""An observation is renewed after a lifetime of silence, within these bounds."""
LONGEST_RETRY_S = 30.0


@dataclass(slots=True, kw_only=True)
class SessionEvents:
    """Whom a session tells. All calls are made in the event loop and must be quick and not raise."""

    profile_changed: Callable[[DeviceProfile], None]
    service_changed: Callable[[int, ServiceStatus | None], None]
    output: Callable[[OutputValue], None]
    notification: Callable[[], None]


class DeviceSession:
    """The device of `registration`.

    `claims` and `known` come from the device's session before; `admission` bounds how many devices are read at the
    same time.
    """

    def __init__(
        self,
        registration: Registration,
        *,
        coap: Coap,
        events: SessionEvents,
        claims: MutableMapping[int, Claim],
        known: Mapping[int, ServiceStatus],
        admission: AbstractAsyncContextManager[object],
        clock: Clock,
    ) -> None:
        self.registration = registration
        self.profile: DeviceProfile | None = None
        self._events = events
        self._known = known  # what the session before knew, shown until this one has read the device
        self._admission = admission
        self._client = DeviceClient(coap, registration.peer, root=registration.objects.root)
        self._observer = Observer(self._client, events.notification)
        self.services = ServiceTable(claims, self._service_changed)
        self._software = SoftwareManager(self._client, self._observer, self.services, self.refresh)
        self._outputs = OutputWatcher(
            registration.endpoint,
            self._client,
            self._observer,
            self.services,
            on_output=events.output,
            on_end=self.refresh,
            clock=clock,
        )
        self._worker = Worker()
        self._is_stale = True  # the device has changed, or has never been read
        self._retry = Backoff(initial_s=1.0, limit_s=LONGEST_RETRY_S)
        self._log = log.bind(endpoint=registration.endpoint)

    # The worker's life

    async def run(self) -> None:
        """Read the device, then do what is asked for, one thing at a time, until cancelled."""
        self._is_stale = True
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self._renewal_s / 2
        while True:
            if self._is_stale:
                await self._read_until_read()
            elif loop.time() >= renew_at:
                await self._observer.renew(silent_s=self._renewal_s)
                renew_at = loop.time() + self._renewal_s / 2
            else:
                await self._work_until(renew_at)

    @property
    def _renewal_s(self) -> float:
        return min(max(self.registration.lifetime_s, SHORTEST_RENEWAL_S), LONGEST_RENEWAL_S)

    async def _work_until(self, deadline: float) -> None:
        """Run the next job; ask for what cannot be observed while there is none."""
        if self._observer.polls:
            deadline = min(deadline, asyncio.get_running_loop().time() + POLL_S)
        try:
            async with asyncio.timeout_at(deadline):
                await self._worker.wait()
        except TimeoutError:
            await self._poll()
        else:
            await self._worker.run_next()

    async def _poll(self) -> None:
        try:
            await self._observer.poll()
        except OPERATION_ERRORS as error:
            self._log.info("device not polled", why=str(error))

    async def _read_until_read(self) -> None:
        """Read the device; when it does not answer, work on what waits meanwhile and try again."""
        try:
            async with self._admission:
                self._is_stale = False
                await self._read()
        except OPERATION_ERRORS as error:
            self._is_stale = True
            delay_s = self._retry.next_s()
            self._log.warning("device not read", why=str(error), again_in_s=round(delay_s, 1))
            await self._work_until(asyncio.get_running_loop().time() + delay_s)
        else:
            self._retry.reset()

    async def _read(self) -> None:
        objects = self.registration.objects
        if self.profile is None:
            values = await read_objects(self._client, objects, PROFILE_OBJECTS)
            profile = device_profile(self.registration, values)
            if SoftwareManagement.object_id in objects:
                await self._read_software()
                await self._software.clean()
            self.profile = profile
            self._log.info("device read", platform=str(profile.platform), services=len(self.services.statuses()))
            self._events.profile_changed(profile)
        elif SoftwareManagement.object_id in objects:
            await self._software.read_all()
        await self._software.observe_all()
        await self._outputs.refresh(objects)

    async def _read_software(self) -> None:
        await self._software.read_all()
        await self._software.read_usage(self.registration.objects)

    def close(self, why: str) -> None:
        """Forget observations; whoever waits hears `why`. Ending `run` is its owner's."""
        self._worker.close(why)
        self._observer.close()

    def statuses(self) -> Mapping[int, ServiceStatus]:
        """The last known services by instance."""
        return self._known if self.profile is None else self.services.statuses()

    # What the registration brings

    def updated(self) -> None:
        """The registration was updated, perhaps from a new address."""
        self._client.peer = self.registration.peer
        if self._is_stale:
            self._worker.wake()  # it is there: no need to wait any longer before it is read
        if self.profile is not None:
            changed = with_registration(self.profile, self.registration)
            if changed != self.profile:
                self.profile = changed
                self._events.profile_changed(changed)

    def refresh(self) -> None:
        """The device's objects have changed: read services and outputs again when the worker is free."""
        self._is_stale = True
        self._worker.wake()

    def _service_changed(self, instance: int) -> None:
        # Before the device has been announced nobody can place its services.
        if self.profile is not None:
            status = self.services.status(instance) if instance in self.services else None
            self._events.service_changed(instance, status)

    # What the kubelet asks for

    async def read_services(self) -> list[ServiceStatus]:
        """See `Lwm2mServer.read_services`."""

        async def read() -> list[ServiceStatus]:
            await self._read_software()
            return list(self.services.statuses().values())

        return await self._call(read)

    async def deploy(self, order: ServiceDeployment) -> ServiceStatus:
        """See `DeviceRuntime.deploy`."""

        async def deploy() -> ServiceStatus:
            if self.profile is None or SoftwareManagement.object_id not in self.registration.objects:
                raise DeployError(
                    DeployReason.DEVICE_REFUSED,
                    f"the device {self.registration.endpoint} takes no services: it has no object 9",
                    retryable=self.profile is None,
                    hint="choose a node of a device with a service runtime",
                )
            return await Deployment(self._software, order, self.profile).run()

        return await self._call(deploy)

    async def remove(self, instance: int) -> None:
        """See `DeviceRuntime.remove`."""
        await self._call(lambda: self._software.remove(instance))

    async def stats(self) -> DeviceStats:
        """See `DeviceRuntime.stats`."""

        async def read() -> DeviceStats:
            values = await read_objects(self._client, self.registration.objects, STATS_OBJECTS)
            self.services.monitor(values)
            return device_stats(values)

        return await self._call(read)

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        with as_deploy_errors():
            return await self._worker.call(work)
