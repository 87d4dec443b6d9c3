"""A local, typed, always current copy of all objects of one kind.

Lists once, then watches; goes on from the last version after the end of a watch, and lists again when that version
is too old. While the API server is away the last state stays. It decides nothing: listeners put keys into queues.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Generic, Protocol, TypedDict, TypeVar, assert_never

import msgspec
import structlog

from fita.base.backoff import Backoff
from fita.kube.client import KubernetesClient
from fita.kube.errors import ConnectionFailedError, GoneError, KubeError
from fita.kube.resource import Resource
from fita.kube.watch import WatchEvent
from fita.model.kubernetes import ObjectMeta

log = structlog.get_logger(__name__)

LIST_TIMEOUT_S = 120.0
"""How long reading all pages of a list may take; a big cluster's takes seconds."""

SHORT_WATCH_S = 1.0
"""A watch that ends sooner without an event counts as failed, or an odd server would be asked in a tight loop."""


class TypedObject(Protocol):
    """What an informer needs of a type: the metadata."""

    @property
    def metadata(self) -> ObjectMeta: ...


T = TypeVar("T", bound=TypedObject)

Listener = Callable[[str, T | None, T | None], None]
"""Called with (key, old, new): old is None for a new object, new is None for one that is gone."""


def object_key(metadata: ObjectMeta) -> str:
    """``namespace/name``, or ``name`` for what has no namespace."""
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


class _Where(TypedDict):
    namespace: str
    label_selector: str
    field_selector: str


class _Identity(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


_decode_identity = msgspec.json.Decoder(_Identity).decode


def _metadata(raw: msgspec.Raw) -> ObjectMeta:
    try:
        return _decode_identity(raw).metadata
    except msgspec.ValidationError as error:
        raise ConnectionFailedError(f"the API server sends what is no Kubernetes object: {error}") from error


def default_backoff() -> Backoff:
    return Backoff(initial_s=0.5, limit_s=30, jitter=0.5)


class Informer(Generic[T]):
    """Keeps the objects of `resource` that match, decoded as `type_`.

    An object that cannot be decoded keeps its last state, with a warning.
    """

    def __init__(
        self,
        client: KubernetesClient,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        backoff: Callable[[], Backoff] = default_backoff,
    ) -> None:
        self._client = client
        self._resource = resource
        self._where: _Where = {
            "namespace": namespace,
            "label_selector": label_selector,
            "field_selector": field_selector,
        }
        self._backoff = backoff()
        self._decode = msgspec.json.Decoder(type_).decode
        self._objects: dict[str, T] = {}
        self._view: Mapping[str, T] | None = None
        self._listeners: list[Listener[T]] = []
        self._resource_version = ""
        self._synced = asyncio.Event()
        self._connected: bool | None = None
        self._lost_at_s = -math.inf
        self._log = log.bind(resource=resource.plural)

    @property
    def synced(self) -> bool:
        """Whether the state has been complete once. It stays so while the API server is away."""
        return self._synced.is_set()

    @property
    def connected(self) -> bool:
        """Whether the last list or watch worked: the state is current but for what is on its way."""
        return self._connected is True

    @property
    def away_s(self) -> float:
        """Seconds since the server was lost: 0 while `connected`, infinite before it was first reached.

        A watch that ends and is resumed at once leaves it at 0.
        """
        return 0.0 if self.connected else asyncio.get_running_loop().time() - self._lost_at_s

    async def wait_synced(self) -> None:
        """Return once `synced`, when all objects have been told to the listeners."""
        await self._synced.wait()

    def get(self, key: str) -> T | None:
        """The object of ``namespace/name`` or ``name``."""
        return self._objects.get(key)

    def items(self) -> Mapping[str, T]:
        """All objects by key, as they are now: what is returned does not change later."""
        if self._view is None:
            self._view = MappingProxyType(dict(self._objects))
        return self._view

    def add_listener(self, listener: Listener[T]) -> None:
        """Call `listener` on every change from now on, after the change, and at once for what is there already.

        It must not block. An exception of it is logged and keeps nobody else from hearing of the change.
        """
        self._listeners.append(listener)
        for key, known in list(self._objects.items()):
            self._tell(listener, key, None, known)

    async def run(self) -> None:
        """Keep the copy current, for ever."""
        try:
            while True:
                try:
                    await self._follow()
                except (KubeError, TimeoutError) as error:
                    await self._recover(error)
        finally:
            self._note_connected(None)

    async def _follow(self) -> None:
        """List where there is no version to watch from, then watch until that ends. A good end returns."""
        if not self._resource_version:
            await self._list()
        loop = asyncio.get_running_loop()
        started, heard = loop.time(), False
        watch = self._client.watch_raw(
            self._resource,
            **self._where,
            resource_version=self._resource_version,
            on_open=lambda: self._set_connected(True),
        )
        try:
            async with aclosing(watch):
                async for event in watch:
                    heard = True
                    self._apply(event)
        finally:
            # Not earlier: a list that works and a watch that is too old at once would make a tight loop.
            if healthy := heard or loop.time() - started >= SHORT_WATCH_S:
                self._backoff.reset()
        if not healthy:
            raise ConnectionFailedError("the API server ends a watch at once")

    async def _recover(self, error: KubeError | TimeoutError) -> None:
        """Wait before the next attempt; a version that is too old is given up."""
        if isinstance(error, GoneError):
            self._resource_version = ""
            self._log.info("watch too old, listing again")
        else:
            self._set_connected(False, error)
        await asyncio.sleep(self._backoff.next_s())

    def _set_connected(self, connected: bool, error: Exception | None = None) -> None:
        """Note whether the server is reached; only a change is logged."""
        if connected and self._connected is False:
            self._log.info("following again")
        elif not connected and self._connected is not False:
            self._log.warning("cannot follow", error=str(error) or type(error).__name__)
        self._note_connected(connected)

    def _note_connected(self, connected: bool | None) -> None:
        if self._connected and not connected:
            self._lost_at_s = asyncio.get_running_loop().time()
        self._connected = connected

    async def _list(self) -> None:
        async with asyncio.timeout(LIST_TIMEOUT_S):
            listed = await self._client.list_raw(self._resource, **self._where)
        self._set_connected(True)
        present = dict(self._understand(raw) for raw in listed.items)
        for key in [key for key in self._objects if present.get(key) is None]:
            self._replace(key, None)
        for key, new in present.items():
            self._replace(key, new)
        self._resource_version = listed.resource_version
        if not self.synced:
            self._log.info("synced", objects=len(self._objects))
            self._synced.set()

    def _apply(self, event: WatchEvent[msgspec.Raw]) -> None:
        metadata = _metadata(event.object)
        match event.type:
            case "BOOKMARK":
                pass
            case "DELETED":
                self._replace(object_key(metadata), None)
            case "ADDED" | "MODIFIED":
                self._replace(*self._understand(event.object))
            case _:
                assert_never(event.type)
        self._resource_version = metadata.resource_version

    def _understand(self, raw: msgspec.Raw) -> tuple[str, T | None]:
        """Key and object; the last state, None if there is none, for one that cannot be decoded."""
        try:
            decoded = self._decode(raw)
        except msgspec.ValidationError as error:
            key = object_key(_metadata(raw))
            self._log.warning("object not understood", key=key, error=str(error))
            return key, self._objects.get(key)
        return object_key(decoded.metadata), decoded

    def _replace(self, key: str, new: T | None) -> None:
        """Keep `new` instead of what was there. An object made again under the same name is two changes."""
        old = self._objects.get(key)
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            del self._objects[key]
            self._changed(key, old, None)
            old = None
        if new is None or (old is not None and _same(old.metadata, new.metadata)):
            return
        self._objects[key] = new
        self._changed(key, old, new)

    def _changed(self, key: str, old: T | None, new: T | None) -> None:
        self._view = None
        for listener in self._listeners:
            self._tell(listener, key, old, new)

    def _tell(self, listener: Listener[T], key: str, old: T | None, new: T | None) -> None:
        try:
            listener(key, old, new)
        except Exception:
            self._log.exception("listener failed", key=key)


def _same(old: ObjectMeta, new: ObjectMeta) -> bool:
    return bool(new.resource_version) and old.resource_version == new.resource_version
