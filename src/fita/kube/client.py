"""Requests to a Kubernetes API server: raw objects in and out, errors as types.

The caller owns every deadline (``async with asyncio.timeout(...)``). The client waits on its own only where the
server asks for that (Retry-After), and bounds how many requests are under way. It keeps no state of objects: see
`fita.kube.informer` for that.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import msgspec

from fita.kube.access import ClusterAccess
from fita.kube.errors import ConnectionFailedError, GoneError, event_error
from fita.kube.resource import RawObject, Resource
from fita.kube.transport import Parameters, Transport
from fita.kube.watch import EventEnvelope, LineSplitter, WatchEvent
from fita.model.wellknown import FIELD_MANAGER

PAGE_ITEMS = 500
"""Objects per page of a list, as in kubectl: bounds what the API server and this process hold at once."""

WATCH_TIMEOUT_S = 420
"""How long the API server keeps a watch open; Kubernetes' own clients use 300 to 600 s."""

WATCH_GRACE_S = 30
"""How long after its end the end of a watch may take to arrive before the connection counts as dead."""


class PatchStrategy(StrEnum):
    """How a patch is meant; the value is its media type.

    MERGE replaces lists (RFC 7386); STRATEGIC merges those that Kubernetes knows a key for, which custom resources
    have none of; JSON is a list of operations (RFC 6902); APPLY owns what it names and creates what is missing.
    """

    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    JSON = "application/json-patch+json"
    APPLY = "application/apply-patch+yaml"


class ObjectList(NamedTuple):
    """The objects of a list, all pages, and the version of the whole to watch from."""

    items: list[RawObject]
    resource_version: str


class RawList(NamedTuple):
    """As `ObjectList`, not decoded."""

    items: list[msgspec.Raw]
    resource_version: str


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_event = msgspec.json.Decoder(EventEnvelope).decode
_decode_object = msgspec.json.Decoder(RawObject).decode


class KubernetesClient:
    """One API server, as an async context manager.

    Every method raises `ApiError` when the server refuses, `ConnectionFailedError` when it cannot be reached, and
    `KubeconfigError` when logging in needs something that cannot be had.
    """

    def __init__(
        self, access: ClusterAccess, *, field_manager: str = FIELD_MANAGER, max_in_flight: int = 64
    ) -> None:
        self.access = access
        self._field_manager = field_manager
        self._transport = Transport(access, max_in_flight=max_in_flight)

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    async def version(self) -> str:
        """The API server's version, like ``v1.36.3``."""
        body = await self._transport.request("GET", "/version")
        return _decoded(msgspec.json.Decoder(_Version).decode, body).git_version

    async def get(self, resource: Resource, name: str, *, namespace: str = "") -> RawObject:
        return await self._object("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """All objects of a kind, in one namespace or (``""``) in all."""
        raw = await self.list_raw(
            resource, namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )
        items = [_decoded(_decode_object, item) for item in raw.items]
        for item in items:  # objects in a list do not say what they are
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return ObjectList(items, raw.resource_version)

    async def list_raw(
        self, resource: Resource, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> RawList:
        """As `list`, but the objects stay JSON: for readers that decode into types of their own."""
        path = resource.path(namespace)
        selectors = _selectors(label_selector, field_selector)
        try:
            return await self._list_pages(path, {**selectors, "limit": str(PAGE_ITEMS)})
        except GoneError:
            # The list changed for longer than the server remembers while it was being read: in one piece, then.
            return await self._list_pages(path, selectors)

    async def _list_pages(self, path: str, parameters: Parameters) -> RawList:
        items: list[msgspec.Raw] = []
        following: dict[str, str] = {}
        while True:
            body = await self._transport.request("GET", path, {**parameters, **following})
            page = _decoded(_decode_page, body)
            items += page.items or ()
            if not page.metadata.continue_:
                return RawList(items, page.metadata.resource_version)
            following = {"continue": page.metadata.continue_}

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str,
        timeout_s: int = WATCH_TIMEOUT_S,
    ) -> AsyncGenerator[WatchEvent[RawObject], None]:
        """Every change after `resource_version`, until the server ends the watch (no error: watch again from the
        last resource version) or an error ends it. `GoneError`: list again.

        Wrap it in ``contextlib.aclosing`` when it may be left early. The client owns the deadline here.
        """
        events = self.watch_raw(
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            timeout_s=timeout_s,
        )
        async with aclosing(events):
            async for event in events:
                yield WatchEvent(event.type, _decoded(_decode_object, event.object))

    async def watch_raw(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str,
        timeout_s: int = WATCH_TIMEOUT_S,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[WatchEvent[msgspec.Raw], None]:
        """As `watch`, but the objects stay JSON. `on_open` is called when the server has accepted the watch."""
        parameters = {
            **_selectors(label_selector, field_selector),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_s),
        }
        splitter = LineSplitter()
        chunks = self._transport.stream(
            resource.path(namespace), parameters, idle_s=timeout_s + WATCH_GRACE_S, on_open=on_open
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                for line in splitter.feed(chunk):
                    event = _decoded(_decode_event, line)
                    if event.type == "ERROR":
                        raise event_error(event.object)
                    yield WatchEvent(event.type, event.object)

    async def create(self, resource: Resource, body: RawObject, *, namespace: str = "") -> RawObject:
        """Create an object and return it as stored. `AlreadyExistsError` when there is one of this name."""
        return await self._object(
            "POST", resource.path(namespace), {"fieldManager": self._field_manager}, body=msgspec.json.encode(body)
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: object,
        *,
        namespace: str = "",
        subresource: str = "",
        strategy: PatchStrategy = PatchStrategy.MERGE,
        force: bool = False,
    ) -> RawObject:
        """Change an object, or its `subresource` (``status``), and return it as stored.

        With a ``metadata.resourceVersion`` or ``metadata.uid`` in `body` the object must have the same, else it
        is a `ConflictError`. `force` (APPLY only) takes over what another manager owns.
        """
        parameters = {"fieldManager": self._field_manager}
        if strategy is PatchStrategy.APPLY:
            parameters["force"] = "true" if force else "false"
        return await self._object(
            "PATCH",
            resource.path(namespace, name, subresource),
            parameters,
            body=msgspec.json.encode(body),
            content_type=strategy.value,
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        grace_period_seconds: int | None = None,
    ) -> None:
        """Delete an object, which finalizers and a grace period may delay. `uid`: only the object that has it,
        else `ConflictError`. A pod whose containers have ended is removed by `grace_period_seconds` 0.
        """
        options: dict[str, object] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        await self._transport.request("DELETE", resource.path(namespace, name), body=msgspec.json.encode(options))

    async def _object(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> RawObject:
        answer = await self._transport.request(method, path, parameters, body=body, content_type=content_type)
        return _decoded(_decode_object, answer)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in selectors.items() if value}


_D = TypeVar("_D")


def _decoded(decode: Callable[[bytes | msgspec.Raw], _D], body: bytes | msgspec.Raw) -> _D:
    try:
        return decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConnectionFailedError(
            f"the API server answers what is not Kubernetes: {error}",
            hint="check the server's address; a proxy may answer instead of it",
        ) from error
