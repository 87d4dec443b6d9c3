"""The client of a registry against one that fails in every way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from oci_fake_registry import FakeRegistry, Fault, at_once, refused
from oci_sample import artifact_of
from yarl import URL

from fita.oci.artifact import ArtifactContent
from fita.oci.content import load_content
from fita.oci.errors import (
    ArtifactNotFoundError,
    IntegrityError,
    OciError,
    RegistryUnavailableError,
    UnauthorizedError,
    UnsupportedArtifactError,
)
from fita.oci.manifest import MEDIA_TYPE_MANIFEST, Content
from fita.oci.reference import Reference
from fita.oci.registry import client
from fita.oci.registry.answer import Answer
from fita.oci.registry.client import RemoteRepository, open_http
from fita.oci.registry.credential import Credentials

ANNA = Credentials("anna", "geheim")
BASIC = "Basic YW5uYTpnZWhlaW0="


@asynccontextmanager
async def repository(
    registry: FakeRegistry, credentials: Credentials | None = None
) -> AsyncIterator[tuple[RemoteRepository, Reference]]:
    reference = Reference(registry.name, "team/average", "1")
    async with asyncio.timeout(20), open_http() as http:
        yield RemoteRepository(http, reference, credentials=credentials, backoff=at_once), reference


@asynccontextmanager
async def spoiled(
    fault: Fault | None, credentials: Credentials | None = None
) -> AsyncIterator[tuple[FakeRegistry, RemoteRepository, Reference]]:
    """A registry that holds the sample service and has `fault`."""
    async with FakeRegistry().serving() as registry:
        add(registry, artifact_of())
        registry.fault = fault
        async with repository(registry, credentials) as (remote, reference):
            yield registry, remote, reference


def add(registry: FakeRegistry, artifact: ArtifactContent, tag: str = "1") -> None:
    for part in (artifact.config, artifact.layer):
        registry.blobs[part.digest] = part.data
    for name in (tag, artifact.manifest.digest):
        registry.manifests["team/average", name] = (MEDIA_TYPE_MANIFEST, artifact.manifest.data)


def always(answer: web.Response | None = None, *, status: int = 0, code: str = "UNKNOWN", **headers: str) -> Fault:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return refused(status, code, **headers)

    return fault


def for_blobs(make: web.Response | bytes) -> Fault:
    """Every blob is answered with `make`."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/sha256:" not in request.path:
            return None
        return web.Response(body=make) if isinstance(make, bytes) else make

    return fault


async def test_pushes_and_pulls() -> None:
    artifact = artifact_of()
    async with FakeRegistry().serving() as registry, repository(registry) as (remote, reference):
        for part in (artifact.config, artifact.layer):
            await remote.push_blob(part)
        await remote.push_manifest(artifact.manifest, "1")
        assert await remote.has_manifest(artifact.manifest.digest)
        assert not await remote.has_manifest(artifact.layer.digest)
        assert await load_content(remote, reference, None) == artifact
        # What is there already is not sent again; a place for uploads keeps its own query.
        await remote.push_blob(artifact.layer)
    uploads = [path for method, path in registry.requests if method == "PUT" and "/uploads/" in path]
    assert len(uploads) == 2
    assert all("state=a%2Fb" in path and "digest=sha256" in path for path in uploads)


async def test_pushes_large_content() -> None:
    layer = Content("application/octet-stream", bytes(3 * 1024 * 1024))
    async with FakeRegistry().serving() as registry, repository(registry) as (remote, _):
        await remote.push_blob(layer)
    assert registry.blobs[layer.digest] == layer.data


@pytest.mark.parametrize(
    ("status", "error", "says", "attempts"),
    [
        (400, RegistryUnavailableError, "answers 400: UNKNOWN unknown", 1),
        (403, UnauthorizedError, "refuses", 1),
        (404, ArtifactNotFoundError, "does not have", 1),
        (429, RegistryUnavailableError, "limits how often", 3),
        (500, RegistryUnavailableError, "answers 500", 3),
        (503, RegistryUnavailableError, "answers 503", 3),
        (204, RegistryUnavailableError, "answers 204", 1),
    ],
)
async def test_every_refusal_has_its_name(status: int, error: type[OciError], says: str, attempts: int) -> None:
    async with spoiled(always(status=status)) as (registry, remote, reference):
        with pytest.raises(error, match=says) as caught:
            await remote.resolve(reference)
    assert caught.value.hint
    assert len(registry.requests) == attempts


async def test_a_registry_that_recovers_is_asked_again() -> None:
    failures = [503, 429]

    async def fault(request: web.Request) -> web.StreamResponse | None:
        return refused(failures.pop(), "BUSY") if failures else None

    async with spoiled(fault) as (registry, remote, reference):
        assert (await remote.resolve(reference)).digest == artifact_of().manifest.digest
    assert len(registry.requests) == 3


@pytest.mark.parametrize(("said", "seconds"), [("2", 2.0), ("86400", 20.0), ("", 0.0), ("-1", 0.0), ("soon", 0.0)])
def test_waits_as_long_as_the_registry_asks_within_reason(said: str, seconds: float) -> None:
    answer = Answer(429, CIMultiDict({"retry-after": said}), b"", URL("http://x/"))
    assert answer.retry_after_s == seconds


async def test_a_registry_that_is_gone_is_named() -> None:
    async with FakeRegistry().serving() as registry:
        pass
    async with repository(registry) as (remote, reference):
        with pytest.raises(RegistryUnavailableError, match="cannot be reached: Connect") as caught:
            await remote.resolve(reference)
    assert "name and port" in caught.value.hint


async def test_a_registry_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(client, "_TIMEOUT", aiohttp.ClientTimeout(sock_read=0.05))
    async with spoiled(fault) as (registry, remote, reference):
        with pytest.raises(RegistryUnavailableError, match="cannot be reached"):
            await remote.resolve(reference)
    assert len(registry.requests) == 3


async def test_a_download_that_breaks_off_is_tried_again_and_then_named() -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with spoiled(fault) as (registry, remote, reference):
        with pytest.raises(RegistryUnavailableError, match="broke off in the middle"):
            await remote.resolve(reference)
    assert len(registry.requests) == 3


@pytest.mark.parametrize(
    ("blob", "says"),
    [(b"short", "has 5 bytes instead of"), (b"x" * 170, "digest"), (b"x" * 200_000, "sends more than")],
)
async def test_wrong_content_is_not_used(blob: bytes, says: str) -> None:
    config = artifact_of().config
    blob = blob if len(blob) != 170 else b"x" * len(config.data)
    async with spoiled(for_blobs(blob)) as (_, remote, reference):
        with pytest.raises(IntegrityError, match=says):
            await remote.fetch(reference, config.descriptor())


async def test_endless_content_is_not_read_to_its_end() -> None:
    sent = 0

    async def fault(request: web.Request) -> web.StreamResponse | None:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))
            sent += 65536

    async with spoiled(fault) as (_, remote, reference):
        with pytest.raises(IntegrityError, match="sends more than"):
            await remote.fetch(reference, artifact_of().layer.descriptor())
        with pytest.raises(IntegrityError, match="sends more than"):
            await remote.resolve(reference)
    assert sent < 16 * 1024 * 1024


async def test_endless_errors_are_not_read_to_their_end() -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=400, body=bytes(1024 * 1024))

    async with spoiled(fault) as (_, remote, reference):
        with pytest.raises(IntegrityError, match="sends more than"):
            await remote.resolve(reference)


async def test_content_that_is_too_large_for_a_device_is_not_asked_for() -> None:
    huge = Content("x", b"").descriptor()
    async with spoiled(None) as (registry, remote, reference):
        descriptor = type(huge)(media_type="x", digest=huge.digest, size=17 * 1024 * 1024)
        with pytest.raises(UnsupportedArtifactError, match="at most"):
            await remote.fetch(reference, descriptor)
    assert registry.requests == []


async def test_a_manifest_must_have_the_digest_that_was_asked_for() -> None:
    manifest = artifact_of(version=9).manifest

    async def fault(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=manifest.data, content_type=manifest.media_type)

    async with spoiled(fault) as (registry, remote, reference):
        assert (await remote.resolve(reference)).digest == manifest.digest
        wanted = Reference(registry.name, "team/average", "", artifact_of().manifest.digest)
        with pytest.raises(IntegrityError):
            await remote.resolve(wanted)


@pytest.mark.parametrize(
    ("body", "media_type", "says"),
    [
        (b"{}", "text/html", "unknown type 'text/html'"),
        (b"{", MEDIA_TYPE_MANIFEST, "is not one"),
        (b"[" * 50_000, MEDIA_TYPE_MANIFEST, "is not one"),
        (b'{"schemaVersion": 2, "config": {}, "layers": []}', MEDIA_TYPE_MANIFEST, "is not one"),
        (b'{"manifests": {}}', "application/vnd.oci.image.index.v1+json", "is not one"),
        (b'{"mediaType": "application/x-other"}', MEDIA_TYPE_MANIFEST, "unknown type 'application/x-other'"),
    ],
)
async def test_malformed_manifests_are_named(body: bytes, media_type: str, says: str) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=body, headers={"Content-Type": media_type})

    async with spoiled(fault) as (_, remote, reference):
        with pytest.raises(UnsupportedArtifactError, match=says):
            await load_content(remote, reference, None)


async def test_logs_in_with_a_password() -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == BASIC:
            return None
        return refused(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="r"')

    async with spoiled(fault, ANNA) as (registry, remote, reference):
        await load_content(remote, reference, None)
    assert len(registry.requests) == 4  # asked once without, then never again
    async with spoiled(fault) as (_, remote, reference):
        with pytest.raises(UnauthorizedError, match="wants a user name") as caught:
            await remote.resolve(reference)
    assert "imagePullSecret" in caught.value.hint
    async with spoiled(fault, Credentials("anna", "falsch")) as (registry, remote, reference):
        with pytest.raises(UnauthorizedError, match="to these credentials") as caught:
            await remote.resolve(reference)
    assert "falsch" not in str(caught.value)
    assert len(registry.requests) == 2


class TokenRegistry:
    """A `Fault` that wants tokens and gives them out at ``/token``."""

    def __init__(self, realm: str = "", answer: web.Response | None = None) -> None:
        self.realm = realm
        self.answer = answer
        self.tokens: list[str] = []
        self.asked: list[dict[str, str]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if request.path == "/token":
            form = dict(await request.post()) if request.method == "POST" else {}
            self.asked.append({**request.query, **{name: str(value) for name, value in form.items()}})
            self.asked[-1]["authorization"] = request.headers.get("Authorization", "")
            self.tokens.append(f"token{len(self.tokens)}")
            return self.answer or web.json_response({"token": self.tokens[-1]})
        if self.tokens and request.headers.get("Authorization") == f"Bearer {self.tokens[-1]}":
            return None
        realm = self.realm or f"http://{request.host}/token"
        scope = 'scope="repository:team/average:pull"'
        return refused(401, "UNAUTHORIZED", WWW_Authenticate=f'Bearer realm="{realm}",service="reg",{scope}')


async def test_logs_in_with_a_token() -> None:
    fault = TokenRegistry()
    async with spoiled(fault, ANNA) as (registry, remote, reference):
        await remote.resolve(reference)
        await remote.resolve(reference)
        fault.tokens.append("the old one has expired")
        await remote.resolve(reference)
    assert (
        fault.asked
        == [
            {"service": "reg", "scope": "repository:team/average:pull", "authorization": BASIC},
        ]
        * 2
    )
    assert registry.count("GET", "/manifests/") == 5


async def test_logs_in_with_an_identity_token() -> None:
    fault = TokenRegistry()
    async with spoiled(fault, Credentials(identity_token="refresh")) as (_, remote, reference):
        await remote.resolve(reference)
    (asked,) = fault.asked
    assert (asked["grant_type"], asked["refresh_token"], asked["service"]) == ("refresh_token", "refresh", "reg")
    assert asked["authorization"] == ""


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (TokenRegistry(answer=refused(401, "UNAUTHORIZED")), UnauthorizedError, "refuses a token"),
        (
            TokenRegistry(answer=refused(500, "UNKNOWN")),
            RegistryUnavailableError,
            "answers 500 instead of a token",
        ),
        (
            TokenRegistry(answer=web.Response(body=b"<html>")),
            RegistryUnavailableError,
            "something else than a token",
        ),
        (
            TokenRegistry(answer=web.json_response({"token": "a\r\nb: c"})),
            RegistryUnavailableError,
            "usable token",
        ),
        (TokenRegistry(answer=web.Response(body=bytes(300_000))), IntegrityError, "sends more than"),
        (TokenRegistry(realm="ftp://evil/"), RegistryUnavailableError, "no usable place for tokens"),
        (TokenRegistry(realm="http://["), RegistryUnavailableError, "no usable place for tokens"),
        (always(status=401, WWW_Authenticate="Negotiate"), UnauthorizedError, "scheme 'negotiate'"),
        (always(status=401), UnauthorizedError, "scheme ''"),
    ],
)
async def test_a_login_that_fails_is_named(fault: Fault, error: type[OciError], says: str) -> None:
    async with spoiled(fault, ANNA) as (_, remote, reference):
        with pytest.raises(error, match=says):
            await remote.resolve(reference)


async def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    async with FakeRegistry().serving() as storage:
        add(storage, artifact_of())

        async def fault(request: web.Request) -> web.StreamResponse | None:
            if "Authorization" not in request.headers:
                return refused(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="r"')
            place = f"http://{storage.name}{request.path_qs}"
            return web.Response(status=307, headers={"Location": place}) if "/blobs/" in request.path else None

        async with spoiled(fault, ANNA) as (_, remote, reference):
            assert await load_content(remote, reference, None) == artifact_of()
    assert len(storage.requests) == 2
    assert all("Authorization" not in headers for headers in storage.headers)


async def test_another_host_cannot_ask_for_credentials() -> None:
    async with FakeRegistry().serving() as storage:
        storage.fault = always(status=401, WWW_Authenticate='Basic realm="r"')

        async def fault(request: web.Request) -> web.StreamResponse | None:
            return web.Response(status=307, headers={"Location": f"http://{storage.name}/v2/x/blobs/y"})

        async with spoiled(fault, ANNA) as (_, remote, reference):
            with pytest.raises(UnauthorizedError):
                await remote.resolve(reference)
    assert all("Authorization" not in headers for headers in storage.headers)


@pytest.mark.parametrize(
    "location", ["", "/v2/team/average/manifests/1", "ftp://x/", "file:///etc/passwd", "http://["]
)
async def test_redirects_end(location: str) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=302, headers={"Location": location})

    async with spoiled(fault) as (registry, remote, reference):
        with pytest.raises(RegistryUnavailableError, match="redirects"):
            await remote.resolve(reference)
    assert len(registry.requests) <= 5


@pytest.mark.parametrize("location", ["http://elsewhere.invalid/upload", "http://["])
async def test_content_is_uploaded_to_no_other_host_in_clear_text(location: str) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=202, headers={"Location": location}) if request.method == "POST" else None

    async with FakeRegistry().serving() as registry, repository(registry) as (remote, _):
        registry.fault = fault
        with pytest.raises(RegistryUnavailableError, match="wants uploads at"):
            await remote.push_blob(artifact_of().layer)


@pytest.mark.parametrize(("status", "says"), [(404, "does not take"), (405, "does not take"), (403, "refuses")])
async def test_a_registry_that_takes_nothing_is_named(status: int, says: str) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return refused(status, "DENIED") if request.method != "HEAD" else None

    async with FakeRegistry().serving() as registry, repository(registry) as (remote, _):
        registry.fault = fault
        with pytest.raises(OciError, match=says):
            await remote.push_blob(artifact_of().layer)
        with pytest.raises(OciError, match=says):
            await remote.push_manifest(artifact_of().manifest, "1")


async def test_a_registry_that_stores_something_else_is_named() -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=201, headers={"Docker-Content-Digest": "sha256:" + "0" * 64})

    async with FakeRegistry().serving() as registry, repository(registry) as (remote, _):
        registry.fault = fault
        with pytest.raises(IntegrityError, match="stored"):
            await remote.push_manifest(artifact_of().manifest, "1")


@pytest.mark.parametrize(
    ("registry", "plain", "scheme"),
    [
        ("localhost:5000", (), "http"),
        ("127.0.0.2", (), "http"),
        ("[::1]:5000", (), "http"),
        ("ghcr.io", (), "https"),
        ("localhost.example", (), "https"),
        ("10.0.0.7:5000", (), "https"),
        ("10.0.0.7:5000", ("10.0.0.7:5000",), "http"),
    ],
)
async def test_only_this_machine_is_spoken_to_in_clear_text(
    registry: str, plain: tuple[str, ...], scheme: str
) -> None:
    async with open_http() as http:
        remote = RemoteRepository(http, Reference(registry, "a", "1"), plain_http=frozenset(plain))
        assert remote.base.scheme == scheme
        hub = RemoteRepository(http, Reference("docker.io", "library/a", "1"))
        assert str(hub.base) == "https://registry-1.docker.io/v2/library/a/"


async def test_a_proxy_is_used_for_other_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeRegistry().serving() as proxy:
        add(proxy, artifact_of())
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.name}")
        monkeypatch.setenv("no_proxy", "inside.invalid")
        async with spoiled(None) as (_, remote, reference):
            await remote.resolve(reference)
        assert proxy.requests == []
        async with open_http() as http:
            outside, inside = (
                RemoteRepository(http, reference, plain_http=frozenset({reference.registry}), backoff=at_once)
                for reference in (
                    Reference("outside.invalid", "team/average", "1"),
                    Reference("inside.invalid", "team/average", "1"),
                )
            )
            assert (await outside.resolve(reference)).digest == artifact_of().manifest.digest
            with pytest.raises(RegistryUnavailableError):
                await inside.resolve(reference)
    assert len(proxy.requests) == 1


async def test_no_other_programs_passwords_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login berta password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fault = TokenRegistry()
    async with spoiled(fault, ANNA) as (registry, remote, reference):
        await remote.resolve(reference)
    sent = [headers.get("Authorization", "") for headers in registry.headers]
    assert sent == ["", BASIC, f"Bearer {fault.tokens[-1]}"]
