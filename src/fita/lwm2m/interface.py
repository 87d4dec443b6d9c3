"""The registration interface as CoAP sees it: the resource ``/rd`` (LwM2M Core 1.1 section 6.2).

Serves nothing else: bootstrap, Send and reporting of other kinds are answered 4.04.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Protocol

import structlog

from fita.base.clock import Clock
from fita.coap.code import Code
from fita.coap.interfaces import Peer, Request, Response
from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.errors import RegistrationError
from fita.lwm2m.registration import Registration, RegistrationStore
from fita.model.device import Endpoint

log = structlog.get_logger(__name__)

REASON_DEREGISTERED = "the device said goodbye"
REASON_EXPIRED = "the device was silent for its whole lifetime"
REASON_NOT_ENROLLED = "the device is no longer enrolled"


class RegistrationListener(Protocol):
    """Hears of registrations in the receive loop."""

    def registered(self, registration: Registration, replaced: Registration | None) -> None:
        """A device has registered; `replaced` is its earlier registration."""
        ...

    def updated(self, registration: Registration, old_peer: Peer, *, objects_sent: bool) -> None:
        """A device has updated its registration, perhaps from a new address or with a new list of objects."""
        ...

    def ended(self, registration: Registration, reason: str) -> None:
        """A device is gone."""
        ...


class RegistrationInterface:
    """A `fita.coap.interfaces.RequestHandler` in front of a store. Answers without waiting for anything."""

    def __init__(self, store: RegistrationStore, listener: RegistrationListener, clock: Clock) -> None:
        self._store = store
        self._listener = listener
        self._clock = clock
        self.registrations_total = 0
        self.refused_total = 0
        self._next_look = math.inf  # at lifetimes
        self._look_earlier = asyncio.Event()

    async def run(self) -> None:
        """End registrations whose lifetime has passed, until cancelled."""
        while True:
            self._expire()
            self._look_earlier.clear()
            expiry = self._store.next_expiry_s()
            self._next_look = math.inf if expiry is None else expiry
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(expiry):
                    await self._look_earlier.wait()

    def handle(self, request: Request, peer: Peer) -> Response:
        """Answer any request of any peer."""
        operation = self._operation(request)
        if isinstance(operation, Response):
            return operation
        try:
            return operation(request, peer)
        except RegistrationError as error:
            self.refused_total += error.code == Code.FORBIDDEN
            log.warning("registration refused", peer=peer, path=request.path_text, why=error.message)
            return Response(code=error.code, payload=error.message.encode())

    def _operation(self, request: Request) -> Callable[[Request, Peer], Response] | Response:
        match request.path, request.method:
            case ("rd",), Code.POST:
                return self._register
            case ("rd", _), Code.POST:
                return self._update
            case ("rd", _), Code.DELETE:
                return self._deregister
            case ("rd",) | ("rd", _), _:
                return Response(code=Code.METHOD_NOT_ALLOWED)
        return Response(code=Code.NOT_FOUND)

    def _register(self, request: Request, peer: Peer) -> Response:
        _check_format(request)
        registration, replaced = self._store.register(
            request.query, request.payload, peer, now=_now(), at=self._clock()
        )
        self.registrations_total += 1
        log.info("registered", endpoint=registration.endpoint, peer=peer, again=replaced is not None)
        self._lifetime_changed(registration)
        self._listener.registered(registration, replaced)
        return Response(code=Code.CREATED, location_path=("rd", registration.location))

    def _update(self, request: Request, peer: Peer) -> Response:
        _check_format(request)
        location = request.path[1]
        old = self._store.find(location)
        old_peer = old.peer
        try:
            registration = self._store.update(location, request.query, request.payload, peer, now=_now())
        except RegistrationError as error:
            if error.code == Code.FORBIDDEN:
                self.end(old.endpoint, REASON_NOT_ENROLLED)
            raise
        self._lifetime_changed(registration)
        self._listener.updated(registration, old_peer, objects_sent=bool(request.payload))
        return Response(code=Code.CHANGED)

    def _deregister(self, request: Request, peer: Peer) -> Response:
        registration = self._store.deregister(request.path[1])
        log.info("deregistered", endpoint=registration.endpoint, peer=peer)
        self._listener.ended(registration, REASON_DEREGISTERED)
        return Response(code=Code.DELETED)

    def end(self, endpoint: Endpoint, reason: str) -> None:
        """End a registration from this side; nothing happens if there is none."""
        registration = self._store.end(endpoint)
        if registration is not None:
            log.info("registration ended", endpoint=endpoint, reason=reason)
            self._listener.ended(registration, reason)

    def _expire(self) -> None:
        for registration in self._store.expire(_now()):
            log.info("registration expired", endpoint=registration.endpoint, lifetime_s=registration.lifetime_s)
            self._listener.ended(registration, REASON_EXPIRED)

    def _lifetime_changed(self, registration: Registration) -> None:
        if registration.expires_at_s < self._next_look:
            self._look_earlier.set()


def _check_format(request: Request) -> None:
    if request.content_format not in (None, ContentFormat.LINK):
        raise RegistrationError(Code.UNSUPPORTED_CONTENT_FORMAT, "the object list is in link format (40)")


def _now() -> float:
    return asyncio.get_running_loop().time()
