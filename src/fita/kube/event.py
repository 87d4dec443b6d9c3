"""Events about objects, as `kubectl describe` and `kubectl get events` show them.

Written like the kubelet's: core/v1 Events whose `count` grows when the same thing happens again. Recording never
waits and never fails; what cannot be written in time is dropped and counted, because events are a courtesy.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ and
https://github.com/kubernetes/design-proposals-archive/blob/main/api-machinery/event_compression.md
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec
import structlog

from fita.base.clock import Clock, rfc3339, utc_now
from fita.kube.client import KubernetesClient
from fita.kube.errors import AlreadyExistsError, ApiError, KubeError, NotFoundError
from fita.kube.queue import WorkQueue
from fita.kube.resource import EVENTS, RawObject, Resource
from fita.model.kubernetes import ObjectMeta

log = structlog.get_logger(__name__)

EventType = Literal["Normal", "Warning"]

WINDOW = timedelta(minutes=10)
"""What happens again within this time of the last occurrence is the same event, counted."""

MAX_SIMILAR = 10
"""After so many messages for one reason within the window, further ones share one event."""

REPEAT_DELAY_S = 5.0
"""How long repeats are gathered before the count is written."""

MAX_PENDING = 1000
"""Events that wait for being written; the newest is dropped when there are more."""

MAX_REMEMBERED = 4096
"""Events whose repeats are recognized, as many as Kubernetes' own recorder remembers."""

WRITE_TIMEOUT_S = 10.0
RETRY_S = 10.0
WRITERS = 4
MAX_MESSAGE_CHARACTERS = 1024
_MAX_NAME_CHARACTERS = 253
_COMBINED = "(combined from similar events): "


class ObjectReference(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The object that an event is about; `field_path` names a part, like ``spec.containers{main}``."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    field_path: str = ""


def reference(resource: Resource, metadata: ObjectMeta, *, field_path: str = "") -> ObjectReference:
    """A reference to the object of `resource` that has `metadata`."""
    return ObjectReference(
        api_version=resource.api_version,
        kind=resource.kind,
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        field_path=field_path,
    )


class _Subject(NamedTuple):
    """What events must share to be similar."""

    about: ObjectReference
    type: EventType
    reason: str


class _Key(NamedTuple):
    """What events must share to be the same."""

    subject: _Subject
    message: str


@dataclass(slots=True)
class _Series:
    """One Event object: how often it happened, and how much of that is written."""

    name: str
    message: str
    first_at: datetime
    last_at: datetime
    count: int = 0
    written: int = 0
    exists: bool = False


@dataclass(slots=True)
class _Similar:
    last_at: datetime
    messages: set[str] = field(default_factory=set)


class EventRecorder:
    """Records events as `component` (what reports) on `host` (where).

    Everything happens in one event loop: `record` wherever something happens, `run` once beside it.
    """

    def __init__(
        self,
        client: KubernetesClient,
        *,
        component: str,
        host: str,
        clock: Clock = utc_now,
        retry_s: float = RETRY_S,
    ) -> None:
        self._client = client
        self._source = {"component": component, "host": host}
        self._clock = clock
        self._retry_s = retry_s
        self._rng = random.Random()
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._similar: OrderedDict[_Subject, _Similar] = OrderedDict()
        self._pending: set[_Key] = set()
        self._named = 0
        self._writable = True
        self._dropped = 0
        self._queue = WorkQueue[_Key](self._write, workers=WRITERS, name="events")

    @property
    def dropped(self) -> int:
        """How many events were given up: too many at once, or refused by the API server."""
        return self._dropped

    @property
    def pending(self) -> int:
        """How many events are not written yet."""
        return len(self._pending)

    def record(self, about: ObjectReference, *, type_: EventType = "Normal", reason: str, message: str) -> None:
        """Note that something happened to `about`. `reason` is one word in CamelCase, `message` a sentence."""
        now = self._clock()
        message = _shortened(message)
        subject = _Subject(about, type_, reason)
        key = _Key(subject, _COMBINED if self._is_one_of_many(subject, message, now) else message)
        series = self._series.get(key)
        if series is None or (key not in self._pending and now - series.last_at > WINDOW):
            if len(self._pending) >= MAX_PENDING:
                self._dropped += 1
                return
            series = _Series(self._name(about, now), message, now, now)
        series.count += 1
        series.last_at = now
        series.message = _shortened(_COMBINED + message) if key.message == _COMBINED else message
        self._remember(key, series)
        self._schedule(key, series)

    async def run(self) -> None:
        """Write what is recorded, for ever."""
        await self._queue.run()

    def _is_one_of_many(self, subject: _Subject, message: str, now: datetime) -> bool:
        similar = self._similar.get(subject)
        if similar is None or now - similar.last_at > WINDOW:
            similar = _Similar(now)
        similar.last_at = now
        self._similar[subject] = similar
        self._similar.move_to_end(subject)
        if len(self._similar) > MAX_REMEMBERED:
            self._similar.popitem(last=False)
        if message in similar.messages:
            return False
        if len(similar.messages) >= MAX_SIMILAR:
            return True
        similar.messages.add(message)
        return False

    def _remember(self, key: _Key, series: _Series) -> None:
        self._series[key] = series
        self._series.move_to_end(key)
        if len(self._series) > MAX_REMEMBERED:
            oldest = next(known for known in self._series if known not in self._pending)
            del self._series[oldest]

    def _schedule(self, key: _Key, series: _Series) -> None:
        if key in self._pending:
            return
        self._pending.add(key)
        if series.exists:
            self._queue.add_after(key, REPEAT_DELAY_S)
        else:
            self._queue.add(key)

    def _name(self, about: ObjectReference, now: datetime) -> str:
        """Like the kubelet's: the object's name and the time in hexadecimal nanoseconds; here also unique."""
        self._named += 1
        nanoseconds = int(now.timestamp() * 1_000_000) * 1000 + self._named % 1000
        suffix = f".{nanoseconds:x}"
        return about.name[: _MAX_NAME_CHARACTERS - len(suffix)].rstrip(".-") + suffix

    async def _write(self, key: _Key) -> float | None:
        """Bring the API server up to date with one event; returns when to come back for it."""
        series = self._series[key]
        count = series.count
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._send(key.subject, series)
        except (KubeError, TimeoutError) as error:
            if not isinstance(error, ApiError) or error.status == 429 or error.status >= 500:
                self._note_writable(False, error)
                return self._retry_s * self._rng.uniform(0.5, 1.5)
            self._dropped += 1
            log.warning("event refused", about=key.subject.about.name, reason=key.subject.reason, error=str(error))
        else:
            self._note_writable(True)
        series.written = count
        if series.count > count:
            return REPEAT_DELAY_S
        self._pending.discard(key)
        return None

    async def _send(self, subject: _Subject, series: _Series) -> None:
        namespace = subject.about.namespace or "default"
        if not series.exists:
            try:
                await self._client.create(EVENTS, self._body(subject, series, namespace), namespace=namespace)
            except AlreadyExistsError:
                pass  # it was written before, but the answer got lost
            else:
                series.exists = True
                return
        change = {"count": series.count, "lastTimestamp": rfc3339(series.last_at), "message": series.message}
        try:
            await self._client.patch(EVENTS, series.name, change, namespace=namespace)
            series.exists = True
        except NotFoundError:  # the API server forgets events, by default after an hour
            series.exists = False
            series.name = self._name(subject.about, self._clock())
            await self._client.create(EVENTS, self._body(subject, series, namespace), namespace=namespace)
            series.exists = True

    def _body(self, subject: _Subject, series: _Series, namespace: str) -> RawObject:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": series.name, "namespace": namespace},
            "involvedObject": subject.about,
            "type": subject.type,
            "reason": subject.reason,
            "message": series.message,
            "source": self._source,
            "firstTimestamp": rfc3339(series.first_at),
            "lastTimestamp": rfc3339(series.last_at),
            "count": series.count,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source["host"],
        }

    def _note_writable(self, writable: bool, error: Exception | None = None) -> None:
        if writable and not self._writable:
            log.info("events are written again")
        elif not writable and self._writable:
            log.warning("events wait", error=str(error) or type(error).__name__)
        self._writable = writable


def _shortened(message: str) -> str:
    if len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    return message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
