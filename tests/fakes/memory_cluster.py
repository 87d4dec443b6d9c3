"""An API server without sockets, for tests in virtual time: `KubernetesClient` over the objects of `ObjectStore`.

cluster = MemoryCluster()
client = cluster.client()
cluster.down = True       # every request fails, watches break
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from fakes.api_server import _PATH, RESOURCES, _events, _Matcher, _status
from fakes.object_store import Id, ObjectStore, StoreError
from fakes.rights import Rights
from fita.kube.access import ClusterAccess
from fita.kube.client import KubernetesClient, PatchStrategy
from fita.kube.credential import FixedCredential, Login
from fita.kube.errors import ConnectionFailedError, api_error
from fita.kube.resource import RawObject, Resource

LATENCY_S = 0.003
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


class MemoryCluster:
    """Objects, and what goes wrong on the way to them.

    `writes` lists what changed something, as (verb, path). With `rights` everything else is refused.
    """

    def __init__(self) -> None:
        self.store = ObjectStore(self._changed)
        self.writes: list[tuple[str, str]] = []
        self.refused: dict[str, int] = {}
        self.rights: Rights | None = None
        self._changes = asyncio.Event()
        self._down = False
        self._resources = {(known.group, known.version, known.plural): known for known in RESOURCES}

    def client(self) -> KubernetesClient:
        access = ClusterAccess(server="http://memory", tls=None, credential=FixedCredential(Login("")))
        client = KubernetesClient(access)
        client._transport = _MemoryTransport(self)  # type: ignore[assignment]
        return client

    @property
    def down(self) -> bool:
        return self._down

    @down.setter
    def down(self, value: bool) -> None:
        self._down = value
        self._changed()

    def put(self, resource: Resource, body: RawObject) -> RawObject:
        metadata = body["metadata"]
        id_ = Id(resource, metadata.get("namespace", ""), metadata["name"])
        if id_ not in self.store.objects:
            self.store.create(resource, id_.namespace, body)
        return self.store.replace(id_, body)

    def get(self, resource: Resource, name: str, namespace: str = "") -> RawObject | None:
        return self.store.objects.get(Id(resource, namespace, name))

    def objects(self, resource: Resource) -> list[RawObject]:
        return self.store.list(resource, "")

    def delete(self, resource: Resource, name: str, namespace: str = "", *, grace_s: int | None = None) -> None:
        self.store.delete(Id(resource, namespace, name), grace_period_s=grace_s)

    def patch(
        self, resource: Resource, name: str, body: Any, namespace: str = "", subresource: str = ""
    ) -> RawObject:
        """What another client changes."""
        return self.store.patch(Id(resource, namespace, name), body, PatchStrategy.STRATEGIC, subresource)

    def _changed(self) -> None:
        self._changes.set()
        self._changes = asyncio.Event()

    def _authorize(self, verb: str, id_: Id, subresource: str) -> None:
        if self.rights is not None and not self.rights.allow(verb, id_, subresource):
            raise api_error(403, json.dumps({"message": f"may not {verb} {id_} {subresource}"}).encode())

    def _locate(self, path: str) -> tuple[Id, str]:
        found = _PATH.match(path)
        key = (found["group"] or "", found["version"], found["plural"]) if found else None
        if found is None or key not in self._resources:
            raise api_error(404, b"{}")
        id_ = Id(self._resources[key], found["namespace"] or "", found["name"] or "")
        return id_, found["subresource"] or ""

    async def answer(
        self, method: str, path: str, parameters: Mapping[str, str], body: Any, media: str
    ) -> RawObject:
        await asyncio.sleep(LATENCY_S)
        if self.down:
            raise ConnectionFailedError("the API server is away")
        id_, subresource = self._locate(path)
        self._authorize(_VERBS[method] if id_.name or method != "GET" else "list", id_, subresource)
        for part, status in self.refused.items():
            if part in f"{method} {path}":
                raise api_error(status, b"{}")
        if method != "GET":
            self.writes.append((method, path))
        try:
            return self._serve(method, id_, subresource, parameters, body, media)
        except StoreError as error:
            raise api_error(error.status, json.dumps(_status(error)).encode()) from error

    def _serve(  # noqa: PLR0917
        self, method: str, id_: Id, subresource: str, parameters: Mapping[str, str], body: Any, media: str
    ) -> RawObject:
        match method, bool(id_.name):
            case "GET", True:
                return self.store.get(id_)
            case "GET", False:
                matches = _Matcher(parameters.get("labelSelector", ""), parameters.get("fieldSelector", ""))
                items = [item for item in self.store.list(id_.resource, id_.namespace) if matches(item)]
                return {"metadata": {"resourceVersion": str(self.store.version)}, "items": items}
            case "POST", False:
                return self.store.create(id_.resource, id_.namespace, body)
            case "PATCH", True:
                return self.store.patch(id_, body, PatchStrategy(media), subresource)
            case "DELETE", True:
                uid = body.get("preconditions", {}).get("uid", "")
                return self.store.delete(id_, uid=uid, grace_period_s=body.get("gracePeriodSeconds"))
        raise api_error(405, b"{}")

    async def watch(self, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(LATENCY_S)
        id_, _ = self._locate(path)
        self._authorize("watch", id_, "")
        matches = _Matcher(parameters.get("labelSelector", ""), parameters.get("fieldSelector", ""))
        version = int(parameters["resourceVersion"])
        while True:
            changed = self._changes
            if self.down:
                raise ConnectionFailedError("the API server is away")
            changes = self.store.changes_since(version)
            version = max(version, self.store.version)
            for event in _events(changes, id_.resource, id_.namespace, matches):
                yield json.dumps(event).encode() + b"\n"
            await changed.wait()


class _MemoryTransport:
    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        decoded = json.loads(body) if body else None
        answer = await self._cluster.answer(method, path, parameters or {}, decoded, content_type)
        return msgspec.json.encode(answer)

    async def stream(
        self,
        path: str,
        parameters: Mapping[str, str],
        *,
        idle_s: float,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncIterator[bytes]:
        if self._cluster.down:
            raise ConnectionFailedError("the API server is away")
        if on_open is not None:
            on_open()
        async for chunk in self._cluster.watch(path, parameters):
            yield chunk


@asynccontextmanager
async def running(*parts: Callable[[], Any]) -> AsyncIterator[None]:
    """Run parts beside a test and end them with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
