"""A registry in this process that can be made to fail and remembers what it was asked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from fita.base.backoff import Backoff

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


def at_once() -> Backoff:
    """Attempts without pauses."""
    return Backoff(initial_s=0.0)


class FakeRegistry:
    """Content by repository and name. `fault` is asked first and answers what it wants to spoil."""

    def __init__(self) -> None:
        self.name = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.fault: Fault | None = None

    def count(self, method: str, part: str) -> int:
        return sum(1 for asked, path in self.requests if asked == method and part in path)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeRegistry]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.name = f"127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        self.headers.append(dict(request.headers))
        if self.fault is not None and (answer := await self.fault(request)) is not None:
            return answer
        repository, kind, name = self._split(request.path)
        match kind, request.method:
            case "manifests", "PUT":
                return self._put_manifest(repository, name, request.content_type, await request.read())
            case "manifests", _:
                return self._get_manifest(repository, name)
            case "uploads", "POST":
                return web.Response(
                    status=202, headers={"Location": f"/v2/{repository}/blobs/uploads/1?state=a%2Fb"}
                )
            case "uploads", "PUT":
                return self._put_blob(request.query["digest"], await request.read())
            case _:
                data = self.blobs.get(name)
                return refused(404, "BLOB_UNKNOWN") if data is None else web.Response(body=data)

    @staticmethod
    def _split(path: str) -> tuple[str, str, str]:
        repository, kind, name = path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "uploads" or (kind == "blobs" and name == "uploads"):
            return repository.removesuffix("/blobs"), "uploads", ""
        return (repository.removesuffix("/blobs"), "uploads", "") if name == "" else (repository, kind, name)

    def _put_manifest(self, repository: str, name: str, media_type: str, data: bytes) -> web.Response:
        digest = digest_of(data)
        self.manifests[repository, name] = self.manifests[repository, digest] = (media_type, data)
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    def _get_manifest(self, repository: str, name: str) -> web.Response:
        found = self.manifests.get((repository, name))
        if found is None:
            return refused(404, "MANIFEST_UNKNOWN")
        media_type, data = found
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}
        return web.Response(body=data, headers=headers)

    def _put_blob(self, digest: str, data: bytes) -> web.Response:
        if digest_of(data) != digest:
            return refused(400, "DIGEST_INVALID")
        self.blobs[digest] = data
        return web.Response(status=201)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def refused(status: int, code: str, **headers: str) -> web.Response:
    """An error in a registry's form."""
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return web.json_response(
        body, status=status, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )
