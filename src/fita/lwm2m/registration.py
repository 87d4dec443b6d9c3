"""Registrations: who is there, for how long, with which objects (LwM2M Core 1.1 section 6.2). No I/O, no clock.

Locations are random, so that nobody who has not seen the answer to a registration can update or end it.
Lifetimes stand in one heap, one entry for each registration, which is looked at again when it comes to the top:
an update costs nothing there.
"""

from __future__ import annotations

import heapq
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from fita.coap.code import Code
from fita.coap.interfaces import Peer
from fita.lwm2m.codec.link import parse_links
from fita.lwm2m.errors import LinkFormatError, PathError, RegistrationError
from fita.lwm2m.path import Path, parse_path
from fita.model.device import Endpoint, is_endpoint

DEFAULT_LIFETIME_S = 86400  # LwM2M Core 1.1 section 6.2.1
MAX_LIFETIME_S = 2**31 - 1
SUPPORTED_VERSIONS = frozenset({"1.0", "1.1", "1.2"})
MAX_OBJECT_LIST_BYTES = 32768

_SPARE_ENTRIES = 64
_BINDING = re.compile(r"[UMHTSNQ]{1,8}")


@dataclass(slots=True, frozen=True)
class ObjectList:
    """What a device says it has. `root` is the path before the objects, nearly always empty.

    `instances` has an empty tuple for an object without instances.
    """

    root: tuple[str, ...] = ()
    instances: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def __contains__(self, object_id: int) -> bool:
        return object_id in self.instances

    def has_instances(self, object_id: int) -> bool:
        """Whether there is anything to read."""
        return bool(self.instances.get(object_id))


@lru_cache(maxsize=64)  # devices of one kind send the same
def parse_object_list(payload: bytes) -> ObjectList:
    """The objects and instances of a registration. Raises `RegistrationError` (4.00, 4.13).

    The root link may be missing (Anjay). Links that are no objects are ignored: a device may list other resources.
    """
    if len(payload) > MAX_OBJECT_LIST_BYTES:
        raise RegistrationError(
            Code.REQUEST_ENTITY_TOO_LARGE, f"the object list has more than {MAX_OBJECT_LIST_BYTES} bytes"
        )
    try:
        links = parse_links(payload)
    except LinkFormatError as error:
        raise RegistrationError(Code.BAD_REQUEST, error.message) from error
    root = next((link.target.strip("/") for link in links if link.get("rt") == "oma.lwm2m"), "")
    prefix = f"/{root}" if root else ""
    found: dict[int, set[int]] = {}
    for link in links:
        path = _object_path(link.target, prefix)
        if path is not None:
            ids = found.setdefault(path.object_id, set())
            if path.instance_id is not None:
                ids.add(path.instance_id)
    instances = {object_id: tuple(sorted(ids)) for object_id, ids in found.items()}
    return ObjectList(tuple(root.split("/")) if root else (), instances)


def _object_path(target: str, prefix: str) -> Path | None:
    if prefix and not target.startswith(prefix + "/"):
        return None
    try:
        return parse_path(target[len(prefix) :])
    except PathError:
        return None


@dataclass(slots=True, kw_only=True, eq=False)
class Registration:
    """One registered device. `location` is the last segment of its path, ``/rd/<location>``.

    `expires_at_s` is on the clock of whoever calls the store, `registered_at` is wall time.
    """

    endpoint: Endpoint
    location: str
    peer: Peer
    lifetime_s: int
    version: str
    binding: str
    queue_mode: bool
    objects: ObjectList
    registered_at: datetime
    expires_at_s: float
    queued_for_s: float  # the time of its one valid entry in the store's queue; never after `expires_at_s`


class RegistrationStore:
    """Every registration that is alive, by location and by endpoint.

    `enrolled` decides who may register; it is asked again at every update. At most `limit` devices register.
    """

    def __init__(self, enrolled: Callable[[Endpoint], bool], *, limit: int = 100_000) -> None:
        self._enrolled = enrolled
        self._limit = limit
        self._by_location: dict[str, Registration] = {}
        self._by_endpoint: dict[Endpoint, Registration] = {}
        self._queue: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._by_location)

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._by_location.values())

    def get(self, endpoint: Endpoint) -> Registration | None:
        """The registration of a device that is alive."""
        return self._by_endpoint.get(endpoint)

    def register(
        self, query: tuple[str, ...], payload: bytes, peer: Peer, *, now: float, at: datetime
    ) -> tuple[Registration, Registration | None]:
        """The new registration and the one of the same endpoint that it replaces. Raises `RegistrationError`."""
        parameters = parse_query(query)
        endpoint = _endpoint(parameters)
        _check_version(parameters)
        lifetime_s = _lifetime_s(parameters, DEFAULT_LIFETIME_S)
        binding, queue_mode = _binding(parameters, "U", False)
        objects = parse_object_list(payload)
        self._check_enrolled(endpoint)
        if len(self) >= self._limit and endpoint not in self._by_endpoint:
            raise RegistrationError(Code.SERVICE_UNAVAILABLE, f"{self._limit} devices are registered, no more fit")
        replaced = self._by_endpoint.get(endpoint)
        if replaced is not None:
            del self._by_location[replaced.location]
        registration = Registration(
            endpoint=endpoint,
            location=secrets.token_urlsafe(9),
            peer=peer,
            lifetime_s=lifetime_s,
            version=parameters["lwm2m"],
            binding=binding,
            queue_mode=queue_mode,
            objects=objects,
            registered_at=at,
            expires_at_s=now + lifetime_s,
            queued_for_s=now + lifetime_s,
        )
        self._by_location[registration.location] = registration
        self._by_endpoint[endpoint] = registration
        self._enqueue(registration)
        return registration, replaced

    def update(
        self, location: str, query: tuple[str, ...], payload: bytes, peer: Peer, *, now: float
    ) -> Registration:
        """Extend a registration; what the update does not name stays. Raises `RegistrationError` (4.04: unknown).

        A refused update changes nothing.
        """
        registration = self.find(location)
        parameters = parse_query(query)
        lifetime_s = _lifetime_s(parameters, registration.lifetime_s)
        binding, queue_mode = _binding(parameters, registration.binding, registration.queue_mode)
        objects = parse_object_list(payload) if payload else registration.objects
        self._check_enrolled(registration.endpoint)
        registration.lifetime_s = lifetime_s
        registration.binding, registration.queue_mode = binding, queue_mode
        registration.objects = objects
        registration.peer = peer
        registration.expires_at_s = now + lifetime_s
        if registration.expires_at_s < registration.queued_for_s:
            self._enqueue(registration)
        return registration

    def deregister(self, location: str) -> Registration:
        """End a registration. Raises `RegistrationError` (4.04)."""
        registration = self.find(location)
        self._remove(registration)
        return registration

    def end(self, endpoint: Endpoint) -> Registration | None:
        """End the registration of a device from this side; None if there is none."""
        registration = self._by_endpoint.get(endpoint)
        if registration is not None:
            self._remove(registration)
        return registration

    def next_expiry_s(self) -> float | None:
        """When `expire` has to be called next; may be early, never late."""
        return self._queue[0][0] if self._queue else None

    def expire(self, now: float) -> list[Registration]:
        """Remove and return every registration whose lifetime has passed."""
        expired: list[Registration] = []
        while self._queue and self._queue[0][0] <= now:
            due_s, location = heapq.heappop(self._queue)
            registration = self._by_location.get(location)
            if registration is None or due_s != registration.queued_for_s:
                continue  # ended, or the lifetime was shortened and has another entry
            if registration.expires_at_s <= now:
                self._remove(registration)
                expired.append(registration)
            else:
                self._enqueue(registration)
        return expired

    def find(self, location: str) -> Registration:
        """The registration at a location. Raises `RegistrationError` (4.04)."""
        registration = self._by_location.get(location)
        if registration is None:
            raise RegistrationError(Code.NOT_FOUND, "no such registration", hint="register anew")
        return registration

    def _enqueue(self, registration: Registration) -> None:
        registration.queued_for_s = registration.expires_at_s
        heapq.heappush(self._queue, (registration.expires_at_s, registration.location))
        if len(self._queue) > 2 * len(self) + _SPARE_ENTRIES:  # of registrations that ended before their time
            self._queue = [(known.queued_for_s, known.location) for known in self]
            heapq.heapify(self._queue)

    def _remove(self, registration: Registration) -> None:
        del self._by_location[registration.location]
        del self._by_endpoint[registration.endpoint]

    def _check_enrolled(self, endpoint: Endpoint) -> None:
        if not self._enrolled(endpoint):
            raise RegistrationError(
                Code.FORBIDDEN, f"{endpoint} is not enrolled", hint=f"fita device enroll {endpoint}"
            )


def parse_query(query: tuple[str, ...]) -> dict[str, str]:
    """``key=value`` by key; a bare key has the value ``""``. Raises `RegistrationError` for a repeated key."""
    parameters: dict[str, str] = {}
    for part in query:
        key, _, value = part.partition("=")
        if key in parameters:
            raise RegistrationError(Code.BAD_REQUEST, f"{key[:32]!r} is given twice")
        parameters[key] = value
    return parameters


def _endpoint(parameters: Mapping[str, str]) -> Endpoint:
    name = parameters.get("ep", "")
    if not is_endpoint(name):
        raise RegistrationError(Code.BAD_REQUEST, "ep must be 1 to 128 visible ASCII characters")
    return Endpoint(name)


def _check_version(parameters: Mapping[str, str]) -> None:
    version = parameters.get("lwm2m")
    if version is None:
        raise RegistrationError(Code.BAD_REQUEST, "lwm2m is missing")
    if version not in SUPPORTED_VERSIONS:
        # LwM2M Core 1.1 table 6.2.1: 4.12 says that the versions do not go together.
        raise RegistrationError(Code.PRECONDITION_FAILED, "LwM2M 1.0, 1.1 and 1.2 are spoken here")


def _lifetime_s(parameters: Mapping[str, str], default: int) -> int:
    text = parameters.get("lt")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= MAX_LIFETIME_S):
        raise RegistrationError(Code.BAD_REQUEST, f"lt must be 1 to {MAX_LIFETIME_S} seconds")
    return int(text)


def _binding(parameters: Mapping[str, str], binding: str, queue_mode: bool) -> tuple[str, bool]:
    """The binding without ``Q``, and queue mode: ``Q`` of its own since LwM2M 1.1, in ``b=UQ`` before."""
    if "b" in parameters:
        if _BINDING.fullmatch(parameters["b"]) is None:
            raise RegistrationError(Code.BAD_REQUEST, "b must be made of the letters U, M, H, T, S, N, Q")
        binding = parameters["b"].replace("Q", "") or "U"
        queue_mode = "Q" in parameters["b"]
    return binding, queue_mode or "Q" in parameters
