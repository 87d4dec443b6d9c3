"""The LwM2M server of the gateway: every device of it, and the services on them.

Satisfies `fita.kubelet.interfaces.DeviceRuntime`. Each device has a worker of its own, so that nothing one device
does or fails to do delays or ends another's work. Keeps nothing that it could not read again from the devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fita.base.clock import Clock, utc_now
from fita.coap.endpoint import CoapEndpoint
from fita.coap.interfaces import Limits, Peer, TransmissionParameters, Transport
from fita.coap.message.exchange import Counters
from fita.lwm2m.interface import RegistrationInterface
from fita.lwm2m.interfaces import DeviceListener
from fita.lwm2m.pool import SessionPool
from fita.lwm2m.registration import RegistrationStore
from fita.lwm2m.service.failure import as_deploy_errors
from fita.lwm2m.session import DeviceSession
from fita.model.device import DeviceProfile, DeviceStats, Endpoint
from fita.model.runtime import OutputValue, ServiceDeployment, ServiceStatus


class Lwm2mServer:
    """Registers devices, reads them, runs services on them.

    `enrolled` decides who may register, `on_output` takes every value of every output. Both, and the listeners,
    are called in the receive loop. Use: `open`, then `run` until cancelled, then `close`.
    """

    def __init__(
        self,
        *,
        enrolled: Callable[[Endpoint], bool],
        on_output: Callable[[OutputValue], None],
        listener: DeviceListener | None = None,
        clock: Clock = utc_now,
        parameters: TransmissionParameters | None = None,
        limits: Limits | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._store = RegistrationStore(enrolled)
        self._pool = SessionPool(on_output=on_output, clock=clock)
        self._interface = RegistrationInterface(self._store, self._pool, clock)
        self._coap = CoapEndpoint(self._interface, parameters=parameters, limits=limits, transport=transport)
        self._pool.coap = self._coap
        if listener is not None:
            self.add_listener(listener)

    # Its life

    async def open(self, host: str, port: int) -> Peer:
        """Bind and return the address in use; ``::`` takes IPv6 and IPv4. Raises `TransportError`."""
        return await self._coap.open(host, port)

    async def run(self) -> None:
        """Serve until cancelled. May be run again after it failed: registrations are kept."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pool.run())
            group.create_task(self._interface.run())
            group.create_task(self._coap.run())

    async def close(self) -> None:
        """Release the socket; whatever is under way raises `DeployError`."""
        self._pool.close()
        await self._coap.close()

    def add_listener(self, listener: DeviceListener) -> None:
        """Tell `listener` of devices and services from now on."""
        self._pool.listeners.append(listener)

    # Figures

    @property
    def registered_devices(self) -> int:
        """Registrations that are alive, devices that have not been read yet included."""
        return len(self._store)

    @property
    def registrations_total(self) -> int:
        """Registrations since the start, without updates."""
        return self._interface.registrations_total

    @property
    def refused_total(self) -> int:
        """Registrations and updates since the start that were answered 4.03: the device is not enrolled."""
        return self._interface.refused_total

    @property
    def coap_counters(self) -> Counters:
        """What the socket received, repeated and gave up since the start; always the same object."""
        return self._coap.counters

    @property
    def notifications_total(self) -> int:
        """Representations received for observations since the start."""
        return self._pool.notifications_total

    # DeviceRuntime

    def devices(self) -> Mapping[Endpoint, DeviceProfile]:
        """Every device whose registration is alive and that has been read."""
        return dict(self._pool.profiles)

    def services(self, endpoint: Endpoint) -> Mapping[int, ServiceStatus]:
        """The last known services of a device by instance; empty for an unknown device."""
        return self._pool.statuses(endpoint)

    async def read_services(self, endpoint: Endpoint) -> list[ServiceStatus]:
        """Ask the device what is on it; `services` says what was heard last. Raises `DeployError`."""
        return await self._session(endpoint).read_services()

    async def deploy(self, endpoint: Endpoint, deployment: ServiceDeployment) -> ServiceStatus:
        """Install and start a service: see `fita.lwm2m.service.deployment`. Raises `DeployError`."""
        return await self._session(endpoint).deploy(deployment)

    async def remove(self, endpoint: Endpoint, instance: int) -> None:
        """Stop and delete a service; no error when it was gone. Raises `DeployError`."""
        await self._session(endpoint).remove(instance)

    async def stats(self, endpoint: Endpoint) -> DeviceStats:
        """What the device uses now. Raises `DeployError`."""
        return await self._session(endpoint).stats()

    def _session(self, endpoint: Endpoint) -> DeviceSession:
        with as_deploy_errors():
            return self._pool.session(endpoint)
