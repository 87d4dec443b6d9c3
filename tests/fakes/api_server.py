"""A Kubernetes API server for tests: real HTTP on loopback, real watches, and trouble on demand.

    async with FakeApiServer() as server, KubernetesClient(server.access) as client:
        server.put(PODS, {"metadata": {"name": "a", "namespace": "default"}})
        server.fail(503)          # the next request
        server.end_watches()      # a clean end, as under load
        server.forget_history()   # what is older is 410

What it answers is what a real one answers, for the little it knows. `fakes.api_contract` holds it against one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from fakes.object_store import Change, Id, ObjectStore, StoreError
from fita.kube.access import ClusterAccess
from fita.kube.client import PatchStrategy
from fita.kube.credential import FixedCredential, Login
from fita.kube.resource import (
    CONFIG_MAPS,
    DEVICES,
    EVENTS,
    LEASES,
    NODES,
    PODS,
    SECRETS,
    RawObject,
    Resource,
)

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
RESOURCES = (NAMESPACES, NODES, PODS, SECRETS, CONFIG_MAPS, EVENTS, LEASES, DEVICES)
VERSION = "v1.36.3"

_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>status))?$"
)


@dataclass(frozen=True)
class SeenRequest:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: object
    peer: tuple[str, int]
    user: str  # of the client certificate, "" without


@dataclass
class _Trouble:
    status: int
    reason: str
    message: str
    retry_after: str
    times: int
    method: str
    path: str

    def hits(self, request: web.Request) -> bool:
        return self.method in ("", request.method) and self.path in request.path_qs


@dataclass
class _Watch:
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    end: str = ""
    bookmark: bool = False


class FakeApiServer:
    """Knows `resources`, accepts `token` where given, speaks TLS with `tls` where given."""

    def __init__(
        self,
        *resources: Resource,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[SeenRequest] = []
        self.token = token
        self.store = ObjectStore(self._wake_watches)
        self.in_flight = self.most_in_flight = 0
        self._resources = {(known.group, known.version, known.plural): known for known in resources or RESOURCES}
        self._tls, self._trust = tls, trust
        self._troubles: list[_Trouble] = []
        self._watches: list[_Watch] = []
        self._watch_opened = asyncio.Condition()
        self._opened_watches = 0
        self._pages: dict[str, tuple[list[RawObject], str]] = {}
        self._tokens = itertools.count(1)
        self._gate = asyncio.Event()
        self._gate.set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the same port as before when it ran before."""
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be gone: connections break, nobody listens. Objects stay for the next `start`."""
        self.break_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def access(self) -> ClusterAccess:
        login = Login(f"Bearer {self.token}" if self.token else "")
        return ClusterAccess(server=self.url, tls=self._trust, credential=FixedCredential(login))

    # State, as another client would change it

    def put(self, resource: Resource, body: RawObject) -> RawObject:
        """Create the object, or make it `body` but for what the server owns. Status included."""
        metadata = body["metadata"]
        id_ = Id(resource, metadata.get("namespace", ""), metadata["name"])
        if id_ not in self.store.objects:
            self.store.create(resource, id_.namespace, body)
        return self.store.replace(id_, body)

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Delete the object at once, without grace."""
        self.store.delete(Id(resource, namespace, name), grace_period_s=0)

    def get(self, resource: Resource, name: str, namespace: str = "") -> RawObject | None:
        return self.store.objects.get(Id(resource, namespace, name))

    def objects(self, resource: Resource) -> list[RawObject]:
        return self.store.list(resource, "")

    # Trouble

    def fail(
        self,
        status: int,
        *,
        reason: str = "",
        message: str = "",
        times: int = 1,
        method: str = "",
        path: str = "",
        retry_after: str = "",
    ) -> None:
        """Refuse the next `times` requests of `method` whose path and query contain `path`."""
        self._troubles.append(_Trouble(status, reason, message, retry_after, times, method, path))

    def end_watches(self) -> None:
        """End all watches cleanly, as a busy server does."""
        self._finish_watches("clean")

    def break_watches(self) -> None:
        """Reset the connections of all watches."""
        self._finish_watches("broken")

    def expire_watches(self) -> None:
        """Forget the history and tell every watch so: an ERROR event with 410."""
        self.store.forget_history()
        self._finish_watches("expired")

    def forget_history(self) -> None:
        """Answer 410 to watches from a version before now, and to the rest of lists begun before."""
        self.store.forget_history()
        self._pages.clear()

    def send_bookmarks(self) -> None:
        """Tell every watch the present version."""
        for watch in self._watches:
            watch.bookmark = True
            watch.wake.set()

    def hold(self) -> None:
        """Let requests wait until `release`."""
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    async def wait_opened(self, watches: int) -> None:
        """Return once so many watches have been opened since the start, those that ended included."""
        async with self._watch_opened:
            await self._watch_opened.wait_for(lambda: self._opened_watches >= watches)

    # HTTP

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        decoded = json.loads(body) if body else None
        self.requests.append(
            SeenRequest(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                decoded,
                request.transport.get_extra_info("peername"),
                _common_name(request.transport.get_extra_info("peercert")),
            )
        )
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            await self._gate.wait()
            self._raise_trouble(request)
            if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
                raise StoreError(401, "Unauthorized", "Unauthorized")
            if request.path == "/version":
                return web.json_response({"major": "1", "minor": "36", "gitVersion": VERSION})
            return await self._serve(request, decoded)
        except StoreError as error:
            headers = {"Retry-After": error.retry_after} if error.retry_after else {}
            return web.json_response(_status(error), status=error.status, headers=headers)
        finally:
            self.in_flight -= 1

    def _raise_trouble(self, request: web.Request) -> None:
        for trouble in self._troubles:
            if trouble.times > 0 and trouble.hits(request):
                trouble.times -= 1
                raise StoreError(trouble.status, trouble.reason, trouble.message, retry_after=trouble.retry_after)

    async def _serve(self, request: web.Request, body: object) -> web.StreamResponse:
        found = _PATH.match(request.path)
        key = (found["group"] or "", found["version"], found["plural"]) if found else None
        if found is None or key not in self._resources:
            raise StoreError(404, "NotFound", "the server could not find the requested resource")
        resource, namespace, name = self._resources[key], found["namespace"] or "", found["name"] or ""
        id_ = Id(resource, namespace, name)
        match request.method, bool(name):
            case "GET", True:
                return web.json_response(self.store.get(id_))
            case "GET", False:
                matches = _Matcher(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
                if request.query.get("watch") == "true":
                    return await self._watch(request, resource, namespace, matches)
                return self._list(request, resource, namespace, matches)
            case "POST", False:
                return web.json_response(self.store.create(resource, namespace, body), status=201)
            case "PATCH", True:
                strategy = PatchStrategy(request.content_type)
                if strategy is PatchStrategy.STRATEGIC and resource == DEVICES:
                    raise StoreError(415, "UnsupportedMediaType", "custom resources have no strategic merge patch")
                return web.json_response(self.store.patch(id_, body, strategy, found["subresource"] or ""))
            case "DELETE", True:
                options = body if isinstance(body, dict) else {}
                uid = options.get("preconditions", {}).get("uid", "")
                grace_period_s = options.get("gracePeriodSeconds")
                return web.json_response(self.store.delete(id_, uid=uid, grace_period_s=grace_period_s))
        raise StoreError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )

    def _list(self, request: web.Request, resource: Resource, namespace: str, matches: _Matcher) -> web.Response:
        query = request.query
        if "continue" in query:
            if query["continue"] not in self._pages:
                raise StoreError(410, "Expired", "the provided continue parameter is too old")
            items, version = self._pages.pop(query["continue"])
        else:
            items = [item for item in self.store.list(resource, namespace) if matches(item)]
            version = str(self.store.version)
        limit = int(query.get("limit", "0")) or len(items)
        metadata: RawObject = {"resourceVersion": version}
        if items[limit:]:
            metadata["continue"] = f"page-{next(self._tokens)}"
            self._pages[metadata["continue"]] = (items[limit:], version)
        page = [
            {name: item[name] for name in item if name not in ("kind", "apiVersion")} for item in items[:limit]
        ]
        answer = {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": page,
        }
        return web.json_response(answer)

    async def _watch(
        self, request: web.Request, resource: Resource, namespace: str, matches: _Matcher
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = _Watch()
        self._watches.append(watch)
        async with self._watch_opened:
            self._opened_watches += 1
            self._watch_opened.notify_all()
        version = int(request.query.get("resourceVersion", "0")) or self.store.version
        try:
            async with asyncio.timeout(int(request.query.get("timeoutSeconds", "600"))):
                while not watch.end:
                    changes = self.store.changes_since(version)
                    for event in _events(changes, resource, namespace, matches):
                        await response.write(json.dumps(event).encode() + b"\n")
                    version = max(version, self.store.version)
                    if watch.bookmark:
                        watch.bookmark = False
                        bookmark = {"kind": resource.kind, "metadata": {"resourceVersion": str(version)}}
                        await response.write(json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n")
                    await watch.wake.wait()
                    watch.wake.clear()
            if watch.end == "expired":
                raise StoreError(410, "Expired", f"too old resource version: {version}")
        except StoreError as error:
            await response.write(json.dumps({"type": "ERROR", "object": _status(error)}).encode() + b"\n")
        except TimeoutError:
            pass
        finally:
            with suppress(ValueError):
                self._watches.remove(watch)
        if watch.end == "broken" and request.transport is not None:
            request.transport.abort()
        return response

    def _wake_watches(self) -> None:
        for watch in self._watches:
            watch.wake.set()

    def _finish_watches(self, end: str) -> None:
        for watch in self._watches:
            watch.end = end
            watch.wake.set()
        self._watches.clear()


def _status(error: StoreError) -> RawObject:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "details": {"causes": [{"field": error.field}]} if error.field else {},
        "code": error.status,
    }


def _common_name(certificate: RawObject | None) -> str:
    names = dict(pair for part in (certificate or {}).get("subject", ()) for pair in part)
    return names.get("commonName", "")


class _Matcher:
    """Label selectors with ``=``, ``!=``, ``key`` and ``!key``; field selectors with ``=`` and ``!=``."""

    def __init__(self, label_selector: str, field_selector: str) -> None:
        self._labels = [part for part in label_selector.split(",") if part]
        self._fields = [part for part in field_selector.split(",") if part]

    def __call__(self, item: RawObject) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(_selects(part, labels.get) for part in self._labels) and all(
            _selects(part, lambda path: _field(item, path)) for part in self._fields
        )


def _selects(part: str, read: Callable[[str], object]) -> bool:
    if "!=" in part:
        name, _, value = part.partition("!=")
        return read(name) != value
    if "=" in part:
        name, _, value = part.replace("==", "=").partition("=")
        return read(name) == value
    return read(part.removeprefix("!")) is None if part.startswith("!") else read(part) is not None


def _field(item: RawObject, path: str) -> object:
    value: object = item
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return value


def _events(
    changes: list[Change], resource: Resource, namespace: str, matches: _Matcher
) -> Iterator[dict[str, object]]:
    """What a watch with these selectors sees: an object that no longer matches is DELETED to it."""
    for change in changes:
        if change.resource != resource:
            continue
        before = change.before if change.before is not None and matches(change.before) else None
        after = change.after if change.after is not None and matches(change.after) else None
        shown = after or before
        if shown is None or namespace not in ("", shown["metadata"].get("namespace", "")):
            continue
        if after is None:
            version = str(change.version)
            yield {
                "type": "DELETED",
                "object": {**shown, "metadata": {**shown["metadata"], "resourceVersion": version}},
            }
        else:
            yield {"type": "MODIFIED" if before else "ADDED", "object": after}
