"""Whole artifacts between the local store and a registry; digests stay as they are.

Of an index that also holds images for computers only the parts for devices are fetched: the images would fill the
store, and their layers are far larger than anything here accepts. The index itself is kept unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fita.oci.content import ContentSource, StoreSource
from fita.oci.errors import ArtifactNotFoundError, UnsupportedArtifactError
from fita.oci.layout import LayoutStore
from fita.oci.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_BLOB_BYTES,
    Content,
    Descriptor,
    Index,
    Manifest,
    decode_json,
    is_for_devices,
)
from fita.oci.reference import Reference
from fita.oci.registry.client import RemoteRepository

_MAX_ARTIFACT_BYTES = 4 * MAX_BLOB_BYTES


async def push(store: LayoutStore, reference: Reference, repository: RemoteRepository, target: Reference) -> str:
    """Copy `reference` from `store` to `target` in `repository` and return its digest.

    What the registry has already is not sent again; the name is given last. The caller owns the deadline. Raises
    the errors of `LayoutStore.resolve` and `RemoteRepository`.
    """
    source = StoreSource(store)
    top = await source.resolve(reference)
    if target.digest and target.digest != top.digest:
        raise UnsupportedArtifactError(
            f"{reference} has the digest {top.digest}, so it cannot become {target}", hint="push it to a tag"
        )
    for entry in _absent_entries(top, str(reference)):
        await _require_part(repository, reference, target, entry)
    async for part in _parts(source, reference, top):
        if part.media_type in MANIFEST_TYPES:
            await repository.push_manifest(part, part.digest)
        else:
            await repository.push_blob(part)
    await repository.push_manifest(top, target.target)
    return top.digest


async def pull_into(store: LayoutStore, source: ContentSource, reference: Reference) -> str:
    """Copy `reference` from `source` into `store`, under the same name, and return its digest.

    All of it is in the store when this returns, or nothing. The caller owns the deadline.
    """
    top = await source.resolve(reference)
    parts: list[Content] = []
    size_bytes = len(top.data)
    async for part in _parts(source, reference, top):
        size_bytes += len(part.data)
        if size_bytes > _MAX_ARTIFACT_BYTES:
            raise UnsupportedArtifactError(
                f"{reference} has more than {_MAX_ARTIFACT_BYTES} bytes", hint="it is not a service for a device"
            )
        parts.append(part)
    return await asyncio.to_thread(store.put_content, reference, top, parts)


async def _parts(source: ContentSource, reference: Reference, top: Content) -> AsyncIterator[Content]:
    """Everything below `top`, each part before the manifest that names it."""
    what = str(reference)
    if top.media_type in INDEX_TYPES:
        for entry in decode_json(top.data, Index, what=what).manifests:
            if not is_for_devices(entry):
                continue
            manifest = await source.fetch(reference, entry)
            async for part in _manifest_parts(source, reference, manifest):
                yield part
            yield manifest
    else:
        async for part in _manifest_parts(source, reference, top):
            yield part


async def _manifest_parts(source: ContentSource, reference: Reference, top: Content) -> AsyncIterator[Content]:
    if top.media_type not in MANIFEST_TYPES:
        raise UnsupportedArtifactError(
            f"{reference} has a part of the unknown type {top.media_type!r}", hint="it is no OCI artifact"
        )
    manifest = decode_json(top.data, Manifest, what=f"the manifest of {reference}")
    for descriptor in (manifest.config, *manifest.layers):
        yield await source.fetch(reference, descriptor)


def _absent_entries(top: Content, what: str) -> list[Descriptor]:
    """The entries of an index that `pull_into` leaves out."""
    if top.media_type not in INDEX_TYPES:
        return []
    entries = decode_json(top.data, Index, what=what).manifests
    return [entry for entry in entries if not is_for_devices(entry)]


async def _require_part(
    repository: RemoteRepository, reference: Reference, target: Reference, entry: Descriptor
) -> None:
    if not await repository.has_manifest(entry.digest):
        raise ArtifactNotFoundError(
            str(reference),
            f"{reference} also names an image for {entry.platform}, which {target.name} does not have",
            hint="images for computers are not kept here; copy them there first with `skopeo copy --all`",
        )
