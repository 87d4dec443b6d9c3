"""The sessions of all registered devices: begun, replaced and ended as registrations come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from fita.base.clock import Clock
from fita.base.supervision import supervise
from fita.coap.endpoint import CoapEndpoint
from fita.coap.interfaces import Peer
from fita.lwm2m.errors import UnknownDeviceError
from fita.lwm2m.interfaces import DeviceListener
from fita.lwm2m.registration import Registration
from fita.lwm2m.service.table import Claim
from fita.lwm2m.session import DeviceSession, SessionEvents
from fita.model.device import DeviceProfile, Endpoint
from fita.model.runtime import OutputValue, ServiceStatus

log = structlog.get_logger(__name__)

READING_DEVICES = 128
"""Devices that are read at the same time; the others wait. Enough to hide silent ones, few enough for a socket."""


class SessionPool:
    """A `fita.lwm2m.interface.RegistrationListener` that keeps one session for each registration.

    What was known of a device stays visible while it registers anew and is read again.
    """

    def __init__(self, *, on_output: Callable[[OutputValue], None], clock: Clock) -> None:
        self.listeners: list[DeviceListener] = []
        self.profiles: dict[Endpoint, DeviceProfile] = {}
        self.notifications_total = 0
        self.coap: CoapEndpoint | None = None  # set by whoever joins the two, before the first registration
        self._on_output = on_output
        self._clock = clock
        self._admission = asyncio.Semaphore(READING_DEVICES)
        self._sessions: dict[Endpoint, DeviceSession] = {}
        self._claims: dict[Endpoint, dict[int, Claim]] = {}
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None  # set while it runs

    async def run(self) -> None:
        """Run the sessions until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for session in self._sessions.values():
                    self._start(session)
                await asyncio.Event().wait()
            finally:
                self._group = None
                self._tasks.clear()

    def session(self, endpoint: Endpoint) -> DeviceSession:
        """The session of a device. Raises `UnknownDeviceError`."""
        session = self._sessions.get(endpoint)
        if session is None:
            raise UnknownDeviceError(endpoint)
        return session

    def statuses(self, endpoint: Endpoint) -> Mapping[int, ServiceStatus]:
        """The last known services of a device."""
        session = self._sessions.get(endpoint)
        return {} if session is None else session.statuses()

    def close(self) -> None:
        """End all sessions; whoever waits for one hears so."""
        for session in self._sessions.values():
            session.close("the gateway stops")
        self._sessions.clear()

    # RegistrationListener

    def registered(self, registration: Registration, replaced: Registration | None) -> None:
        """A device has registered (again): a new session begins by reading it."""
        endpoint = registration.endpoint
        known = self.statuses(endpoint)
        if replaced is not None:
            self._stop(endpoint, "the device has registered anew")
        assert self.coap is not None  # it has just received the registration
        session = DeviceSession(
            registration,
            coap=self.coap,
            events=SessionEvents(
                profile_changed=self._profile_changed,
                service_changed=partial(self._service_changed, endpoint),
                output=self._on_output,
                notification=self._count_notification,
            ),
            claims=self._claims.setdefault(endpoint, {}),
            known=known,
            admission=self._admission,
            clock=self._clock,
        )
        self._sessions[endpoint] = session
        self._start(session)

    def updated(self, registration: Registration, old_peer: Peer, *, objects_sent: bool) -> None:
        """A device has updated its registration."""
        session = self._sessions[registration.endpoint]
        if old_peer != registration.peer:
            log.info("device moved", endpoint=registration.endpoint, old_peer=old_peer, peer=registration.peer)
            assert self.coap is not None  # it has just received the update
            self.coap.rebind(old_peer, registration.peer)
        session.updated()
        if objects_sent:
            session.refresh()

    def ended(self, registration: Registration, reason: str) -> None:
        """A device is gone."""
        endpoint = registration.endpoint
        self._stop(endpoint, reason)
        self.profiles.pop(endpoint, None)
        for listener in self.listeners:
            listener.device_lost(endpoint, reason)

    # Sessions

    def _start(self, session: DeviceSession) -> None:
        if self._group is not None:
            endpoint = session.registration.endpoint
            self._tasks[endpoint] = self._group.create_task(supervise(f"device {endpoint}", session.run))

    def _stop(self, endpoint: Endpoint, why: str) -> None:
        session = self._sessions.pop(endpoint, None)
        if session is not None:
            session.close(why)
        task = self._tasks.pop(endpoint, None)
        if task is not None:
            task.cancel()

    def _profile_changed(self, profile: DeviceProfile) -> None:
        self.profiles[profile.endpoint] = profile
        for listener in self.listeners:
            listener.device_joined(profile)

    def _service_changed(self, endpoint: Endpoint, _instance: int, status: ServiceStatus | None) -> None:
        for listener in self.listeners:
            listener.service_changed(endpoint, status)

    def _count_notification(self) -> None:
        self.notifications_total += 1
