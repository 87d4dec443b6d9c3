"""Whole artifacts between store and registry, and what is told about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from oci_fake_registry import FakeRegistry, at_once, refused
from oci_sample import DEVICE, PORTABLE, ZEPHYR, artifact_of

from fita.model.platform import Platform
from fita.oci.content import StoreSource
from fita.oci.errors import ArtifactNotFoundError, OciError, UnauthorizedError, UnsupportedArtifactError
from fita.oci.inspection import inspect, list_store
from fita.oci.layout import LayoutStore
from fita.oci.manifest import MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Content, Descriptor, Index, Manifest
from fita.oci.reference import Reference, parse_reference
from fita.oci.registry.client import RemoteRepository, open_http
from fita.oci.transfer import pull_into, push

LOCAL = parse_reference("fita.local/average:1")


@asynccontextmanager
async def registry() -> AsyncIterator[tuple[FakeRegistry, RemoteRepository, Reference]]:
    async with asyncio.timeout(20), FakeRegistry().serving() as fake, open_http() as http:
        target = Reference(fake.name, "team/average", "1")
        yield fake, RemoteRepository(http, target, backoff=at_once), target


def index_with_image(*entries: Descriptor) -> Content:
    image = Content(MEDIA_TYPE_MANIFEST, b"an image").descriptor(platform=Platform("linux", "amd64"))
    index = Index(schema_version=2, media_type=MEDIA_TYPE_INDEX, manifests=[image, *entries])
    return Content(MEDIA_TYPE_INDEX, msgspec.json.encode(index))


async def test_there_and_back_keeps_the_digest(tmp_path: Path) -> None:
    here, there = LayoutStore(tmp_path / "here"), LayoutStore(tmp_path / "there")
    digest = here.put(LOCAL, [artifact_of(PORTABLE), artifact_of(DEVICE)])
    async with registry() as (fake, remote, target):
        assert await push(here, LOCAL, remote, target) == digest
        assert fake.requests[-1] == ("PUT", "/v2/team/average/manifests/1")  # the name comes last
        assert await pull_into(there, remote, target) == digest
        sent = len(fake.requests)
        assert await push(here, LOCAL, remote, target) == digest
        assert fake.count("POST", "/uploads/") == 4  # config and layer of both, only the first time
        assert sent < len(fake.requests)
    assert there.references() == [str(target)]
    assert (await inspect(StoreSource(there), target)).platforms == (
        await inspect(StoreSource(here), LOCAL)
    ).platforms


async def test_images_for_computers_stay_where_they_are(tmp_path: Path) -> None:
    artifact = artifact_of(ZEPHYR)
    top = index_with_image(artifact.manifest.descriptor(platform=ZEPHYR))
    store = LayoutStore(tmp_path / "store")
    async with registry() as (_, remote, target):
        for part in (artifact.config, artifact.layer):
            await remote.push_blob(part)
        for manifest, name in ((artifact.manifest, artifact.manifest.digest), (top, "1")):
            await remote.push_manifest(manifest, name)
        assert await pull_into(store, remote, target) == top.digest
        report = await inspect(StoreSource(store), target)
        assert [service.platform for service in report.platforms] == ["zephyr/arm/v7"]
        assert report.others == ("linux/amd64",)
        # Back to where the image is that pulls have left out: only with it the index is whole.
        with pytest.raises(ArtifactNotFoundError, match="names an image for linux/amd64") as caught:
            await push(store, target, remote, target)
        await remote.push_manifest(Content(MEDIA_TYPE_MANIFEST, b"an image"), "image")
        assert await push(store, target, remote, target) == top.digest
    assert "skopeo copy --all" in caught.value.hint


async def test_a_push_that_is_refused_gives_no_name(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    store.put(LOCAL, [artifact_of()])
    async with registry() as (fake, remote, target):

        async def fault(request: web.Request) -> web.StreamResponse | None:
            return refused(403, "DENIED") if request.method == "PUT" else None

        fake.fault = fault
        with pytest.raises(UnauthorizedError):
            await push(store, LOCAL, remote, target)
        assert fake.manifests == {}


async def test_only_what_is_there_can_be_pushed(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    digest = store.put(LOCAL, [artifact_of()])
    async with registry() as (fake, remote, target):
        with pytest.raises(ArtifactNotFoundError):
            await push(store, parse_reference("fita.local/other:1"), remote, target)
        pinned = Reference(target.registry, target.repository, "", digest)
        assert await push(store, LOCAL, remote, pinned) == digest
        other = Reference(target.registry, target.repository, "", "sha256:" + "0" * 64)
        with pytest.raises(UnsupportedArtifactError, match="cannot become"):
            await push(store, LOCAL, remote, other)
    assert set(fake.manifests) == {("team/average", digest)}


@pytest.mark.parametrize("body", [b"", b"{", b'{"schemaVersion":2}'])
async def test_a_pull_that_fails_leaves_nothing(tmp_path: Path, body: bytes) -> None:
    store = LayoutStore(tmp_path / "store")
    async with registry() as (fake, remote, target):
        fake.manifests["team/average", "1"] = (MEDIA_TYPE_MANIFEST, body)
        with pytest.raises(OciError):
            await pull_into(store, remote, target)
    assert store.references() == []
    assert not store.root.exists()


async def test_a_pull_is_bounded(tmp_path: Path) -> None:
    layer = Content("application/octet-stream", bytes(15 * 1024 * 1024))
    manifest = Manifest(schema_version=2, config=layer.descriptor(), layers=[layer.descriptor()] * 100)
    store = LayoutStore(tmp_path / "store")
    async with registry() as (fake, remote, target):
        fake.blobs[layer.digest] = layer.data
        fake.manifests["team/average", "1"] = (MEDIA_TYPE_MANIFEST, msgspec.json.encode(manifest))
        with pytest.raises(UnsupportedArtifactError, match="more than"):
            await pull_into(store, remote, target)
    assert fake.count("GET", "/blobs/") == 5


async def test_an_index_in_an_index_is_refused(tmp_path: Path) -> None:
    inner = index_with_image()
    outer = index_with_image(inner.descriptor(platform=ZEPHYR))
    store = LayoutStore(tmp_path)
    store.put_content(LOCAL, outer, [inner])
    for work in (
        pull_into(LayoutStore(tmp_path / "other"), StoreSource(store), LOCAL),
        inspect(StoreSource(store), LOCAL),
    ):
        with pytest.raises(UnsupportedArtifactError, match="unknown type"):
            await work


async def test_tells_what_a_service_needs(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    artifact = artifact_of()
    store.put(LOCAL, [artifact])
    report = await inspect(StoreSource(store), LOCAL)
    assert (report.reference, report.digest) == (str(LOCAL), artifact.manifest.digest)
    (service,) = report.platforms
    assert (service.name, service.version, service.api) == ("average", 3, 1)
    assert (service.memory_bytes, service.sensors) == (8192, ("temperature_sensor",))
    assert [(port.key, port.type, port.unit) for port in service.outputs] == [("average", "float", "Cel")]
    assert service.code_bytes == 8
    assert service.download_bytes == sum(len(p.data) for p in (artifact.manifest, artifact.config, artifact.layer))


async def test_lists_what_is_damaged_with_its_problem(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path)
    store.put(LOCAL, [artifact_of(version=1)])
    broken = artifact_of(version=2)
    store.put(parse_reference("fita.local/average:2"), [broken])
    (tmp_path / "blobs" / "sha256" / broken.layer.digest.removeprefix("sha256:")).unlink()
    first, second = await list_store(store)
    assert (first.reference, first.platforms, first.code_bytes) == (str(LOCAL), ("micropython/any/v6",), 8)
    assert (second.reference, second.platforms) == ("fita.local/average:2", ())
    assert "lacks its part" in second.problem
