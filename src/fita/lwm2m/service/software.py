"""Object 9 at one device: reading it back, observing it, and the single steps of a software's life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from fita.coap.code import Code
from fita.coap.errors import ResponseError
from fita.lwm2m.device.observer import Observer
from fita.lwm2m.device.operation import DeviceClient
from fita.lwm2m.device.profile import read_objects
from fita.lwm2m.objects.declaration import ResourceBase
from fita.lwm2m.objects.software import SoftwareManagement, SoftwareMonitoring
from fita.lwm2m.path import Path
from fita.lwm2m.registration import ObjectList
from fita.lwm2m.service.table import ServiceTable, is_half_finished
from fita.model.runtime import DeployError, DeployReason

log = structlog.get_logger(__name__)

REREAD_S = 3.0
"""How long a change may be awaited by observation alone before the device is asked."""


class SoftwareManager:
    """Keeps `services` true to the device. `on_end` is called when the device ends the observation of a service.

    Raises what `DeviceClient` raises.
    """

    def __init__(
        self, client: DeviceClient, observer: Observer, services: ServiceTable, on_end: Callable[[], None]
    ) -> None:
        self.services = services
        self._client = client
        self._observer = observer
        self._on_end = on_end

    async def read_all(self) -> None:
        """Read what is on the device. A device without instances may answer 4.04."""
        since = self.services.mark()
        try:
            values = await self._client.read(Path(SoftwareManagement.object_id))
        except ResponseError as error:
            if error.code != Code.NOT_FOUND:
                raise
            values = {}
        self.services.replace(values, since)

    async def read_usage(self, objects: ObjectList) -> None:
        """Read what the services use; nothing happens where the device does not say."""
        self.services.monitor(await read_objects(self._client, objects, (SoftwareMonitoring.object_id,)))

    async def read_back(self, instance: int) -> None:
        """Read one instance again, update state and result included."""
        since = self.services.mark()
        try:
            values = await self._client.read(_path(instance))
        except ResponseError as error:
            if error.code != Code.NOT_FOUND:
                raise
            self._forget(instance)
        else:
            self.services.update(instance, values, since)

    async def observe(self, instance: int) -> None:
        """Hear of every change of an instance from now on."""
        if _path(instance) not in self._observer:
            await self._observer.watch(_path(instance), partial(self.services.notify, instance), self._on_end)

    async def observe_all(self) -> None:
        """Hear of every change of every instance from now on."""
        for instance in self.services.instances():
            await self.observe(instance)

    async def clean(self) -> None:
        """Delete what never got installed: uploads that a killed gateway or a lost link left behind."""
        for instance, found in self.services.instances().items():
            if is_half_finished(found):
                log.info("half-finished install removed", peer=self._client.peer, instance=instance)
                try:
                    await self.remove(instance)
                except ResponseError as error:
                    log.info(
                        "instance not removable", peer=self._client.peer, instance=instance, why=error.message
                    )

    async def create(self) -> int:
        """A new, empty instance."""
        before = set(self.services.instances())
        instance = await self._client.create(SoftwareManagement.object_id)
        if instance is not None:
            return instance
        await self.read_all()
        created = set(self.services.instances()) - before
        if len(created) != 1:
            raise DeployError(
                DeployReason.DEVICE_REFUSED, "the device does not say which instance of object 9 it created",
                retryable=True, hint="its LwM2M client is broken",
            )  # fmt: skip
        return created.pop()

    async def write_package(self, instance: int, package: bytes) -> None:
        """Send a package; that the device answers says nothing about whether it takes it."""
        await self._client.write_opaque(
            _path(instance)._replace(resource_id=SoftwareManagement.package.id), package
        )

    async def execute(self, instance: int, resource: ResourceBase) -> None:
        """Install, uninstall, activate or deactivate."""
        await self._client.execute(_path(instance)._replace(resource_id=resource.id))

    async def remove(self, instance: int) -> None:
        """Stop, uninstall and delete; done when it is gone, however it went.

        The steps before the deletion may be refused: there may be nothing to stop or to uninstall.
        """
        for resource in (SoftwareManagement.deactivate, SoftwareManagement.uninstall):
            try:
                await self.execute(instance, resource)
            except ResponseError as error:
                if error.code == Code.NOT_FOUND:
                    break
        try:
            await self._client.delete(_path(instance))
        except ResponseError as error:
            if error.code != Code.NOT_FOUND:
                raise
        self._forget(instance)

    async def until(
        self, instance: int, reached: Callable[[SoftwareManagement], bool], *, within_s: float
    ) -> None:
        """Read the instance back and wait until it `reached`, by observation and, where that is silent, by asking.

        A state counts even if another has followed at once. `reached` may raise. Raises `TimeoutError` when the
        device answers and it is still not `reached` after `within_s`, and `DeployError` when the instance is gone.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        with self.services.following(instance) as follower:
            await self.read_back(instance)
            while True:
                try:
                    async with asyncio.timeout(REREAD_S):
                        state = await follower.next()
                except TimeoutError:
                    if loop.time() >= end:
                        raise
                    await self.read_back(instance)
                    continue
                if state is None:
                    raise DeployError(
                        DeployReason.DEVICE_REFUSED, f"the device dropped instance {instance} of object 9",
                        retryable=True, hint="it may have restarted; it is tried again",
                    )  # fmt: skip
                if reached(state):
                    return

    def _forget(self, instance: int) -> None:
        self._observer.unwatch(_path(instance))
        self.services.remove(instance)


def _path(instance: int) -> Path:
    return Path(SoftwareManagement.object_id, instance)
