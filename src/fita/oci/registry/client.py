"""The distribution API of a registry: read and write manifests and blobs, with distrust.

Every answer has a size limit and a digest that is checked. Redirects are followed for reading only, never from
https to http, and never carry credentials to another host. Cookies are ignored, nothing is decompressed.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from io import BytesIO

import aiohttp
from yarl import URL

from fita.base.backoff import Backoff
from fita.oci.errors import IntegrityError, RegistryUnavailableError, UnsupportedArtifactError
from fita.oci.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_BLOB_BYTES,
    MAX_MANIFEST_BYTES,
    Content,
    Descriptor,
    verify,
)
from fita.oci.reference import DOCKER_HUB, Reference
from fita.oci.registry.answer import Answer, broken, refusal
from fita.oci.registry.authorization import authorize, parse_challenge, read_limited
from fita.oci.registry.credential import Credentials
from fita.oci.registry.route import is_this_machine, proxy_of

_DOCKER_HUB_HOST = "registry-1.docker.io"
_ACCEPT = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
_ATTEMPTS = 3
_MAX_REDIRECTS = 5
_MAX_ERROR_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
# A registry that says nothing for so long is taken to be gone; the deadline for the whole is the caller's.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=30.0)


def open_http() -> aiohttp.ClientSession:
    """The HTTP session that registries are spoken to with; its owner closes it."""
    return aiohttp.ClientSession(
        timeout=_TIMEOUT,
        connector=aiohttp.TCPConnector(limit=16, limit_per_host=8),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "fita"},
        auto_decompress=False,
    )


class RemoteRepository:
    """One repository of one registry, as one user: a `ContentSource` that can also be written to.

    `plain_http` are registries that are spoken to without TLS; those on this machine always are. `base` is where
    its manifests and blobs are.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        reference: Reference,
        *,
        credentials: Credentials | None = None,
        plain_http: frozenset[str] = frozenset(),
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._http = http
        self._reference = reference
        self._credentials = credentials
        self._backoff = backoff
        self._allow_http = reference.registry in plain_http or is_this_machine(
            URL(f"http://{reference.registry}").host or ""
        )
        self._authorization = ""
        self._actions = "pull"
        host = _DOCKER_HUB_HOST if reference.registry == DOCKER_HUB else reference.registry
        self.base = URL(f"{'http' if self._allow_http else 'https'}://{host}/v2/{reference.repository}/")

    async def resolve(self, reference: Reference) -> Content:
        """The manifest or index that `reference` names."""
        url = self.base / "manifests" / reference.target
        answer = await self._read(url, limit_bytes=MAX_MANIFEST_BYTES)
        content = Content(answer.media_type, answer.body)
        for digest in (reference.digest, answer.headers.get("Docker-Content-Digest", "")):
            if digest.startswith("sha256:"):
                verify(answer.body, digest, what=str(reference))
        return content

    async def fetch(self, reference: Reference, descriptor: Descriptor) -> Content:
        """The part of `reference` that `descriptor` names."""
        is_manifest = descriptor.media_type in (*MANIFEST_TYPES, *INDEX_TYPES)
        limit_bytes = MAX_MANIFEST_BYTES if is_manifest else MAX_BLOB_BYTES
        if descriptor.size > limit_bytes:
            raise UnsupportedArtifactError(
                f"a part of {reference} has {descriptor.size} bytes, at most {limit_bytes} are read",
                hint="it is not a service for a device",
            )
        url = self.base / ("manifests" if is_manifest else "blobs") / descriptor.digest
        answer = await self._read(url, limit_bytes=descriptor.size)
        what = f"{descriptor.digest} of {reference}"
        if len(answer.body) != descriptor.size:
            raise IntegrityError(f"{what} has {len(answer.body)} bytes instead of {descriptor.size}")
        return Content(descriptor.media_type, verify(answer.body, descriptor.digest, what=what))

    async def has_manifest(self, digest: str) -> bool:
        """Whether the repository has the manifest `digest`."""
        answer = await self._request("HEAD", self.base / "manifests" / digest, headers={"Accept": _ACCEPT})
        if answer.status == 404:
            return False
        self._expect(answer, 200)
        return True

    async def push_blob(self, blob: Content) -> None:
        """Store `blob` unless the registry has it (distribution-spec, monolithic upload)."""
        self._actions = "pull,push"
        present = await self._request("HEAD", self.base / "blobs" / blob.digest)
        if present.status == 200:
            return
        started = await self._request("POST", self.base / "blobs" / "uploads/")
        self._expect(started, 202)
        upload = self._same_place(started.location)
        headers = {"Content-Type": "application/octet-stream"}
        done = await self._request(
            "PUT", upload.extend_query({"digest": blob.digest}), headers=headers, body=blob.data
        )
        self._expect(done, 201, 202, 204)

    async def push_manifest(self, manifest: Content, target: str) -> None:
        """Store `manifest`, whose parts are there, under the tag or digest `target`."""
        self._actions = "pull,push"
        url = self.base / "manifests" / target
        done = await self._request("PUT", url, headers={"Content-Type": manifest.media_type}, body=manifest.data)
        self._expect(done, 201, 202)
        stored = done.headers.get("Docker-Content-Digest", manifest.digest)
        if stored != manifest.digest:
            raise IntegrityError(f"{self._reference.registry} stored {stored} instead of {manifest.digest}")

    async def _read(self, url: URL, *, limit_bytes: int) -> Answer:
        headers = {"Accept": _ACCEPT}
        for _ in range(_MAX_REDIRECTS):
            answer = await self._request("GET", url, headers=headers, limit_bytes=limit_bytes)
            if answer.status not in _REDIRECTS:
                self._expect(answer, 200)
                return answer
            url = self._redirected(answer)
        raise RegistryUnavailableError(f"{self._reference.registry} redirects more than {_MAX_REDIRECTS} times")

    def _redirected(self, answer: Answer) -> URL:
        target = answer.location
        if target.scheme == "https" or (target.scheme == "http" and self._allow_http):
            return target
        raise RegistryUnavailableError(
            f"{self._reference.registry} redirects to {str(target)[:200]!r}", hint="only https is followed"
        )

    def _same_place(self, url: URL) -> URL:
        """`url`, where content may be sent: the registry itself, or over TLS anywhere it says."""
        if url.host and (url.scheme == "https" or url.origin() == self.base.origin()):
            return url
        raise RegistryUnavailableError(f"{self._reference.registry} wants uploads at {str(url)[:200]!r}")

    async def _request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit_bytes: int = _MAX_ERROR_BYTES,
    ) -> Answer:
        """One request: authorised when the registry asks for that, repeated when that may help."""
        delays = self._backoff()
        while True:
            try:
                answer = await self._send(method, url, headers=headers or {}, body=body, limit_bytes=limit_bytes)
                if answer.status == 401 and await self._authorize(answer):
                    answer = await self._send(
                        method, url, headers=headers or {}, body=body, limit_bytes=limit_bytes
                    )
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                if delays.attempts + 1 >= _ATTEMPTS or not _may_pass(error):
                    raise broken(url, error) from error
                wait_s = 0.0
            else:
                if answer.status not in _TRY_AGAIN or delays.attempts + 1 >= _ATTEMPTS:
                    return answer
                wait_s = answer.retry_after_s
            await asyncio.sleep(max(wait_s, delays.next_s()))

    async def _send(
        self, method: str, url: URL, *, headers: Mapping[str, str], body: bytes | None, limit_bytes: int
    ) -> Answer:
        sent = dict(headers)
        if self._authorization and url.origin() == self.base.origin():
            sent["Authorization"] = self._authorization
        # A file object, because aiohttp warns of large bytes.
        data = BytesIO(body) if body is not None else None
        async with self._http.request(
            method, url, headers=sent, data=data, allow_redirects=False, proxy=proxy_of(url)
        ) as response:
            limit = limit_bytes if response.status == 200 else _MAX_ERROR_BYTES
            return Answer(response.status, response.headers.copy(), await read_limited(response, limit), url)

    async def _authorize(self, answer: Answer) -> bool:
        """Whether there is a new answer to the registry's challenge, kept for this and the next requests."""
        if answer.url.origin() != self.base.origin():
            return False
        authorization = await authorize(
            self._http,
            parse_challenge(answer.headers.get("WWW-Authenticate", "")),
            credentials=self._credentials,
            scope=f"repository:{self._reference.repository}:{self._actions}",
            allow_http=self._allow_http,
        )
        changed = authorization != self._authorization
        self._authorization = authorization
        return changed

    def _expect(self, answer: Answer, *statuses: int) -> None:
        if answer.status not in statuses:
            raise refusal(
                answer, self._reference, known=self._credentials is not None, pushing="push" in self._actions
            )


def _may_pass(error: Exception) -> bool:
    return not isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL | ValueError)
