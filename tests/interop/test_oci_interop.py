"""Services through a real registry and skopeo, with unchanged digests."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from oci_real_registry import PASSWORD, USER, TokenServer, htpasswd_auth, serving, skopeo

from fita.base.resource import resource_folder
from fita.model.platform import Platform
from fita.oci.artifact import ImageConfig, RootFilesystem
from fita.oci.build.builder import BuiltService, build_service
from fita.oci.errors import ArtifactNotFoundError, UnauthorizedError
from fita.oci.layout import LayoutStore
from fita.oci.manifest import MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Content, Index, Manifest
from fita.oci.puller import ArtifactSource
from fita.oci.reference import Reference, parse_reference
from fita.oci.registry.client import RemoteRepository, open_http
from fita.oci.registry.credential import Credentials, Keychain
from fita.oci.transfer import pull_into, push

pytestmark = pytest.mark.interop

DEVICE = Platform("micropython", "armv7em", "v6")
ZEPHYR = Platform("zephyr", "arm", "v7")
ANNA = Credentials(USER, PASSWORD)


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path / "store")


@pytest.fixture
def built(store: LayoutStore) -> BuiltService:
    return build_service(resource_folder("demos") / "temperature" / "average", store)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "registry") as name:
        yield name


@asynccontextmanager
async def repository(target: Reference, credentials: Credentials | None = None) -> AsyncIterator[RemoteRepository]:
    async with asyncio.timeout(30), open_http() as http:
        yield RemoteRepository(http, target, credentials=credentials)


async def test_our_push_is_a_registrys_artifact_for_skopeo_and_for_us(
    tmp_path: Path, store: LayoutStore, built: BuiltService, registry: str
) -> None:
    target = Reference(registry, "team/average", "1")
    async with repository(target) as remote:
        assert await push(store, built.reference, remote, target) == built.digest
        assert await push(store, built.reference, remote, target) == built.digest
    shown = json.loads(await asyncio.to_thread(skopeo, "inspect", "--tls-verify=false", f"docker://{target}"))
    assert (shown["Digest"], shown["Os"], shown["Architecture"]) == (built.digest, "micropython", "any")
    async with asyncio.timeout(30), ArtifactSource(store=tmp_path / "none", cache=tmp_path / "cache") as source:
        artifact = await source.pull(str(target), DEVICE)
        again = await source.pull(f"{target.name}@{built.digest}", DEVICE, pull_policy="Always")
    assert artifact.digest == again.digest == built.digest
    assert artifact.manifest.name == "average"


async def test_skopeo_copies_from_our_layout_and_back(
    tmp_path: Path, store: LayoutStore, built: BuiltService, registry: str
) -> None:
    back = Reference(registry, "back", "1")
    other = LayoutStore(tmp_path / "other")

    def copy() -> None:
        skopeo("copy", f"oci:{store.root}:{built.reference}", f"oci:{other.root}:{built.reference}")
        skopeo("copy", "--dest-tls-verify=false", f"oci:{other.root}:{built.reference}", f"docker://{back}")

    await asyncio.to_thread(copy)
    assert other.resolve(built.reference).digest == built.digest
    assert other.references() == [str(built.reference)]
    async with repository(back) as remote:
        assert await pull_into(store, remote, back) == built.digest
    assert set(store.references()) == {str(built.reference), str(back)}


async def test_builds_go_on_in_a_layout_that_skopeo_has_written(
    tmp_path: Path, store: LayoutStore, built: BuiltService
) -> None:
    other = LayoutStore(tmp_path / "other")
    await asyncio.to_thread(
        skopeo, "copy", f"oci:{store.root}:{built.reference}", f"oci:{other.root}:a.example/b:1"
    )
    again = build_service(resource_folder("demos") / "temperature" / "average-v2", other)
    assert other.references() == ["a.example/b:1", str(again.reference)]
    assert other.resolve(parse_reference("a.example/b:1")).digest == built.digest
    skopeo_name = f"oci:{other.root}:{again.reference}"
    shown = json.loads(await asyncio.to_thread(skopeo, "inspect", skopeo_name))
    assert shown["Digest"] == again.digest


def computer_image() -> tuple[Content, list[Content]]:
    """A small real image for linux/amd64: its manifest and parts."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    # Compressed already, because skopeo would do it and so change the digests.
    layer = Content("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(archive.getvalue(), mtime=0))
    filesystem = RootFilesystem(["sha256:" + hashlib.sha256(archive.getvalue()).hexdigest()])
    image = ImageConfig(architecture="amd64", os="linux", rootfs=filesystem)
    config = Content("application/vnd.oci.image.config.v1+json", msgspec.json.encode(image))
    manifest = Manifest(
        schema_version=2,
        media_type=MEDIA_TYPE_MANIFEST,
        config=config.descriptor(),
        layers=[layer.descriptor()],
    )
    return Content(MEDIA_TYPE_MANIFEST, msgspec.json.encode(manifest)), [config, layer]


def fita_artifact() -> tuple[Content, list[Content]]:
    """A service in the form that FITA's users have: no more fields than theirs."""
    document = {
        "name": "lamp_control",
        "version": 7,
        "service": base64.b64encode(b"\x7fELF").decode(),
        "data_model": ["lwm2m:urn:oma:lwm2m:ext:3303"],
        "dependencies": {"sdk_api": 1},
        "inputs": [{"key": "level", "type": 0}],
        "outputs": [{"key": "temperature", "type": 1, "data_model_mapping": "lwm2m:3303/x/5700"}],
    }
    layer = Content("application/vnd.embserve.v1+json", json.dumps(document).encode())
    config = Content(
        "application/vnd.oci.image.config.v1+json", b'{"architecture":"arm","os":"zephyr","variant":"v7"}'
    )
    manifest = {
        "schemaVersion": 2,
        "config": msgspec.to_builtins(config.descriptor()),
        "layers": [msgspec.to_builtins(layer.descriptor())],
    }
    return Content(MEDIA_TYPE_MANIFEST, json.dumps(manifest).encode()), [config, layer]


async def test_one_name_serves_computers_embserve_and_our_devices(
    tmp_path: Path, store: LayoutStore, built: BuiltService, registry: str
) -> None:
    target = Reference(registry, "multi", "1")
    ours = store.resolve(built.reference)
    (image, image_parts), (fita, fita_parts) = computer_image(), fita_artifact()
    entries = [
        image.descriptor(platform=Platform("linux", "amd64")),
        fita.descriptor(platform=ZEPHYR),
        ours.descriptor(platform=built.platforms[0]),
    ]
    index = Index(schema_version=2, media_type=MEDIA_TYPE_INDEX, manifests=entries)
    top = Content(MEDIA_TYPE_INDEX, msgspec.json.encode(index))
    async with repository(target) as remote:
        await push(store, built.reference, remote, target)
        for part in (*image_parts, *fita_parts):
            await remote.push_blob(part)
        for manifest in (image, fita):
            await remote.push_manifest(manifest, manifest.digest)
        await remote.push_manifest(top, target.tag)
    async with asyncio.timeout(30), ArtifactSource(store=store.root, cache=tmp_path / "cache") as source:
        embserve = await source.pull(str(target), ZEPHYR)
        device = await source.pull(str(target), DEVICE)
    assert (embserve.binary, embserve.manifest.name, embserve.manifest.version) == (b"\x7fELF", "lamp_control", 7)
    assert embserve.digest == fita.digest
    assert device.digest == built.digest

    async with repository(target) as remote:
        assert await pull_into(store, remote, target) == top.digest
        assert await push(store, target, remote, Reference(registry, "multi", "2")) == top.digest
    shown = await asyncio.to_thread(
        skopeo,
        "--override-os=linux",
        "--override-arch=amd64",
        "inspect",
        "--tls-verify=false",
        f"docker://{target}",
    )
    assert json.loads(shown)["Architecture"] == "amd64"
    whole = tmp_path / "whole"
    await asyncio.to_thread(
        skopeo, "copy", "--all", "--src-tls-verify=false", f"docker://{target}", f"oci:{whole}:{target}"
    )
    assert LayoutStore(whole).resolve(target).digest == top.digest


async def test_a_registry_with_passwords(
    tmp_path: Path, store: LayoutStore, built: BuiltService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "registry", htpasswd_auth(tmp_path / "registry")) as registry:
        target = Reference(registry, "private/average", "1")
        for wrong in (None, Credentials(USER, "falsch")):
            async with repository(target, wrong) as remote:
                with pytest.raises(UnauthorizedError):
                    await push(store, built.reference, remote, target)
        async with repository(target, ANNA) as remote:
            await push(store, built.reference, remote, target)
        # What skopeo writes when a user logs in is what we read.
        logins = tmp_path / "auth.json"
        await asyncio.to_thread(
            skopeo, "login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, "--authfile", logins, registry
        )
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(logins))
        done = await asyncio.to_thread(
            subprocess.run,
            [Path(sys.executable).parent / "python", "-c", "from fita.cli.service import app; app()", "pull",
             str(target), "--store", str(tmp_path / "pulled")],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert built.digest in done.stdout


async def test_a_registry_with_tokens(tmp_path: Path, store: LayoutStore, built: BuiltService) -> None:
    tokens = TokenServer()
    async with tokens.serving(tmp_path / "registry") as auth:
        with serving(tmp_path / "registry", auth) as registry:
            target = Reference(registry, "team/average", "1")
            async with repository(target) as remote:
                with pytest.raises(UnauthorizedError):
                    await push(store, built.reference, remote, target)
            async with repository(target, Credentials(USER, "falsch")) as remote:
                with pytest.raises(UnauthorizedError):
                    await push(store, built.reference, remote, target)
            async with repository(target, ANNA) as remote:
                assert await push(store, built.reference, remote, target) == built.digest
            assert "repository:team/average:pull,push" in tokens.scopes
            keychain = Keychain(((registry, ANNA),))
            for chain in (None, keychain):
                cache = tmp_path / f"cache-{chain is None}"
                async with asyncio.timeout(30), ArtifactSource(store=store.root, cache=cache) as source:
                    artifact = await source.pull(str(target), DEVICE, credentials=chain)
                assert artifact.digest == built.digest
                with pytest.raises(ArtifactNotFoundError):
                    async with repository(target, ANNA) as remote:
                        await remote.resolve(Reference(registry, "team/average", "2"))
