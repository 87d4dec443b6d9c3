"""How the kubelet gets services, against a registry in this process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from oci_fake_registry import FakeRegistry, at_once, refused
from oci_sample import DEVICE, PORTABLE, ZEPHYR, artifact_of, mpy_of

from fita.base.errors import ConfigurationError
from fita.model.platform import Platform
from fita.model.service import ServiceArtifact
from fita.oci.artifact import ArtifactContent
from fita.oci.errors import (
    ArtifactNotFoundError,
    IntegrityError,
    InvalidReferenceError,
    RegistryUnavailableError,
    UnsupportedArtifactError,
)
from fita.oci.layout import LayoutStore
from fita.oci.manifest import MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Content, Index
from fita.oci.puller import ArtifactSource
from fita.oci.reference import parse_reference
from fita.oci.registry.credential import Credentials, Keychain

REPOSITORY = "team/average"


def add(registry: FakeRegistry, *artifacts: ArtifactContent, tag: str = "1") -> str:
    """Put `artifacts` into `registry`, joined by an index with an image for computers when there are several."""
    for artifact in artifacts:
        for part in (artifact.config, artifact.layer):
            registry.blobs[part.digest] = part.data
        registry.manifests[REPOSITORY, artifact.manifest.digest] = (MEDIA_TYPE_MANIFEST, artifact.manifest.data)
    top = artifacts[0].manifest
    if len(artifacts) > 1:
        entries = [artifact.manifest.descriptor(platform=artifact.platform) for artifact in artifacts]
        image = Content(MEDIA_TYPE_MANIFEST, b"an image").descriptor(platform=Platform("linux", "amd64"))
        index = Index(schema_version=2, media_type=MEDIA_TYPE_INDEX, manifests=[image, *entries])
        top = Content(MEDIA_TYPE_INDEX, msgspec.json.encode(index))
    registry.manifests[REPOSITORY, tag] = registry.manifests[REPOSITORY, top.digest] = (top.media_type, top.data)
    return top.digest


@asynccontextmanager
async def source_of(folder: Path, **options: Keychain | int) -> AsyncIterator[ArtifactSource]:
    async with asyncio.timeout(20):
        async with ArtifactSource(
            store=folder / "store",
            cache=folder / "cache",
            backoff=at_once,
            **options,  # type: ignore[arg-type]
        ) as source:
            yield source


@asynccontextmanager
async def setting(folder: Path) -> AsyncIterator[tuple[FakeRegistry, ArtifactSource, str]]:
    """A registry that holds version 1 for every device, a source and the service's name."""
    async with FakeRegistry().serving() as registry, source_of(folder) as source:
        add(registry, artifact_of(version=1))
        yield registry, source, f"{registry.name}/{REPOSITORY}"


async def test_pulls_once_and_then_from_the_cache(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        first = await source.pull(f"{name}:1", DEVICE)
        assert (first.manifest.version, first.binary, first.platform) == (1, mpy_of(PORTABLE), PORTABLE)
        assert first.reference == f"{name}:1"
        assert len(registry.requests) == 3
        assert await source.pull(f"{name}:1", DEVICE) == first
        assert (await source.pull(f"{name}@{first.digest}", DEVICE)).binary == first.binary
        assert len(registry.requests) == 4  # only the name with the digest was new
    async with source_of(tmp_path) as offline:  # the registry is gone, the cache is not
        assert await offline.pull(f"{name}:1", DEVICE) == first


async def test_always_asks_what_a_tag_means_and_downloads_only_what_is_new(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        await source.pull(f"{name}:1", DEVICE)
        add(registry, artifact_of(version=2))
        assert (await source.pull(f"{name}:1", DEVICE)).manifest.version == 1
        assert (await source.pull(f"{name}:1", DEVICE, pull_policy="Always")).manifest.version == 2
        registry.requests.clear()
        artifact = await source.pull(f"{name}:1", DEVICE, pull_policy="Always")
        assert [path for _, path in registry.requests] == [f"/v2/{REPOSITORY}/manifests/1"]
        await source.pull(f"{name}@{artifact.digest}", DEVICE)
        registry.requests.clear()
        await source.pull(f"{name}@{artifact.digest}", DEVICE, pull_policy="Always")
        assert registry.requests == []  # a digest means the same for ever


async def test_never_asks_nobody(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        with pytest.raises(ArtifactNotFoundError, match="policy is Never"):
            await source.pull(f"{name}:1", DEVICE, pull_policy="Never")
        assert registry.requests == []
        await source.pull(f"{name}:1", DEVICE)
        assert (await source.pull(f"{name}:1", DEVICE, pull_policy="Never")).manifest.version == 1


async def test_a_name_without_registry_that_the_local_store_has_gets_a_hint(tmp_path: Path) -> None:
    LayoutStore(tmp_path / "store").put(parse_reference("fita.local/average:1"), [artifact_of(version=1)])
    async with source_of(tmp_path) as source:
        with pytest.raises(ArtifactNotFoundError) as caught:
            await source.pull("average:1", DEVICE, pull_policy="Never")
        assert caught.value.hint == "did you mean fita.local/average:1?"
        for other in ("average:2", "localhost:1/average:1", "team/average:1"):
            with pytest.raises(ArtifactNotFoundError) as caught:
                await source.pull(other, DEVICE, pull_policy="Never")
            assert "did you mean" not in caught.value.hint


async def test_other_policies_and_names_are_refused(tmp_path: Path) -> None:
    async with source_of(tmp_path) as source:
        with pytest.raises(ConfigurationError, match="no image pull policy"):
            await source.pull("x", DEVICE, pull_policy="Sometimes")
        with pytest.raises(InvalidReferenceError):
            await source.pull("No Name", DEVICE)


async def test_local_names_never_leave_the_machine(tmp_path: Path) -> None:
    LayoutStore(tmp_path / "store").put(parse_reference("fita.local/average:1"), [artifact_of(version=1)])
    async with source_of(tmp_path) as source:
        for policy in ("Always", "IfNotPresent", "Never"):
            artifact = await source.pull("fita.local/average:1", DEVICE, pull_policy=policy)
            assert artifact.manifest.version == 1
        with pytest.raises(ArtifactNotFoundError, match="not in the local store"):
            await source.pull("fita.local/average:2", DEVICE)
        # What is built later is there at once.
        LayoutStore(tmp_path / "store").put(parse_reference("fita.local/average:2"), [artifact_of(version=2)])
        assert (await source.pull("fita.local/average:2", DEVICE)).manifest.version == 2


async def test_each_platform_gets_its_own(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        add(registry, artifact_of(PORTABLE), artifact_of(DEVICE), artifact_of(ZEPHYR, body=b"elf"), tag="2")
        registry.requests.clear()
        assert (await source.pull(f"{name}:2", DEVICE)).platform == DEVICE
        assert (await source.pull(f"{name}:2", Platform("micropython", "x64", "v6"))).platform == PORTABLE
        zephyr = await source.pull(f"{name}:2", ZEPHYR)
        assert (zephyr.platform, zephyr.binary) == (ZEPHYR, b"elf")
        with pytest.raises(UnsupportedArtifactError) as caught:
            await source.pull(f"{name}:2", Platform("zephyr", "riscv"))
    assert "linux/amd64" in caught.value.hint
    assert registry.count("GET", "/manifests/2") == 1
    assert len({path for _, path in registry.requests}) == len(registry.requests)  # nothing twice, nothing else


async def test_an_artifact_for_another_platform_is_refused_before_its_code_is_fetched(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        add(registry, artifact_of(ZEPHYR), tag="z")
        registry.requests.clear()
        with pytest.raises(UnsupportedArtifactError, match="is for zephyr/arm/v7, not for micropython/armv7em/v6"):
            await source.pull(f"{name}:z", DEVICE)
        assert len(registry.requests) == 2


async def test_many_pods_cause_one_download(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        async with asyncio.TaskGroup() as group:
            pulls = [group.create_task(source.pull(f"{name}:1", DEVICE)) for _ in range(100)]
        assert len({pull.result().digest for pull in pulls}) == 1
        assert len(registry.requests) == 3


async def test_a_pull_that_is_given_up_does_not_spoil_the_others(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        asked, go = asyncio.Event(), asyncio.Event()

        async def fault(request: web.Request) -> web.StreamResponse | None:
            asked.set()
            await go.wait()
            return None

        registry.fault = fault
        async with asyncio.TaskGroup() as group:
            first = group.create_task(source.pull(f"{name}:1", DEVICE))
            await asked.wait()
            second = group.create_task(source.pull(f"{name}:1", DEVICE))
            await asyncio.sleep(0)
            first.cancel()
            go.set()
        assert first.cancelled()
        assert second.result().manifest.version == 1


async def test_the_caller_owns_the_deadline(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):

        async def fault(request: web.Request) -> web.StreamResponse | None:
            await asyncio.Event().wait()
            return None

        registry.fault = fault
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await source.pull(f"{name}:1", DEVICE)
        registry.fault = None
        assert (await source.pull(f"{name}:1", DEVICE)).manifest.version == 1


async def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):

        async def fault(request: web.Request) -> web.StreamResponse | None:
            return refused(503, "BUSY")

        registry.fault = fault
        with pytest.raises(RegistryUnavailableError):
            await source.pull(f"{name}:1", DEVICE)
        registry.fault = None
        assert (await source.pull(f"{name}:1", DEVICE)).manifest.version == 1


async def test_damaged_and_deleted_cache_content_is_fetched_again(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        await source.pull(f"{name}:1", DEVICE)
        for path in (tmp_path / "cache" / "blobs" / "sha256").iterdir():
            path.write_bytes(b"damaged")
        registry.requests.clear()
        assert (await source.pull(f"{name}:1", DEVICE)).manifest.version == 1
        assert len(registry.requests) == 3
        shutil.rmtree(tmp_path / "cache")
        assert (await source.pull(f"{name}:1", DEVICE)).manifest.version == 1


async def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    async with setting(tmp_path) as (registry, source, name):
        for _ in range(2):
            assert (await source.pull(f"{name}:1", DEVICE)).manifest.version == 1
        assert len(registry.requests) == 6


async def test_a_registry_that_replaces_content_is_found_out(tmp_path: Path) -> None:
    async with setting(tmp_path) as (registry, source, name):
        layer = artifact_of(version=1).layer
        registry.blobs[layer.digest] = bytes(len(layer.data))
        with pytest.raises(IntegrityError, match="does not have its digest"):
            await source.pull(f"{name}:1", DEVICE)
        registry.blobs[layer.digest] = layer.data
        assert (await source.pull(f"{name}:1", DEVICE)).manifest.version == 1


async def test_a_pods_credentials_are_used_before_the_machines(tmp_path: Path) -> None:
    async with FakeRegistry().serving() as registry:
        add(registry, artifact_of(version=1))

        async def fault(request: web.Request) -> web.StreamResponse | None:
            if "Authorization" in request.headers:
                return None
            return refused(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="r"')

        registry.fault = fault

        def chain(user: str) -> Keychain:
            return Keychain(((registry.name, Credentials(user, "x")),))

        async with source_of(tmp_path, keychain=chain("machine")) as source:
            name = f"{registry.name}/{REPOSITORY}:1"
            await source.pull(name, DEVICE, pull_policy="Always", credentials=chain("pod"))
            await source.pull(name, DEVICE, pull_policy="Always")
    sent = [headers["Authorization"] for headers in registry.headers if "Authorization" in headers]
    assert sent[0] == "Basic cG9kOng="
    assert sent[-1] == "Basic bWFjaGluZTp4"


async def test_the_cache_stays_within_its_limit(tmp_path: Path) -> None:
    async with FakeRegistry().serving() as registry, source_of(tmp_path, cache_limit_bytes=20_000) as source:
        pulled: list[ServiceArtifact] = []
        for version in range(12):
            add(registry, artifact_of(version=version, body=bytes([version]) * 3000), tag=str(version))
            pulled.append(await source.pull(f"{registry.name}/{REPOSITORY}:{version}", DEVICE))
        assert [artifact.manifest.version for artifact in pulled] == list(range(12))
    sizes = [path.stat().st_size for path in (tmp_path / "cache" / "blobs" / "sha256").iterdir()]
    assert 10_000 < sum(sizes) <= 20_000
