"""What any place that holds artifacts can do, and how a service is put together from it.

A source answers by name (`resolve`) and by descriptor (`fetch`). What it returns has the digest asked for.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from fita.model.platform import Platform
from fita.model.service import ServiceArtifact
from fita.oci.artifact import ArtifactContent, decode_artifact, decode_config, service_layer
from fita.oci.errors import UnsupportedArtifactError
from fita.oci.layout import LayoutStore
from fita.oci.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Content,
    Descriptor,
    Index,
    Manifest,
    choose_platform,
    decode_json,
)
from fita.oci.reference import Reference


class ContentSource(Protocol):
    """A place that holds artifacts. Both raise the errors of this package and verify every digest."""

    async def resolve(self, reference: Reference) -> Content:
        """The manifest or index that `reference` names."""

    async def fetch(self, reference: Reference, descriptor: Descriptor) -> Content:
        """The part of `reference` that `descriptor` names."""


class StoreSource:
    """The local store as a `ContentSource`; files are read beside the event loop."""

    def __init__(self, store: LayoutStore) -> None:
        self._store = store

    async def resolve(self, reference: Reference) -> Content:
        return await asyncio.to_thread(self._store.resolve, reference)

    async def fetch(self, reference: Reference, descriptor: Descriptor) -> Content:
        data = await asyncio.to_thread(self._store.read, reference, descriptor)
        return Content(descriptor.media_type, data)


async def load_content(source: ContentSource, reference: Reference, platform: Platform | None) -> ArtifactContent:
    """The content of `reference` for `platform` as it is in `source`; None: the only platform there is.

    The layer is fetched last, after everything else fits. Raises `ArtifactNotFoundError`, `IntegrityError`,
    `UnsupportedArtifactError`, `UnauthorizedError`, `RegistryUnavailableError`, `StoreError`.
    """
    return await content_in(source, reference, await source.resolve(reference), platform)


async def content_in(
    source: ContentSource, reference: Reference, top: Content, platform: Platform | None
) -> ArtifactContent:
    """`load_content` where `reference` has been resolved to `top`."""
    what = str(reference)
    if top.media_type in INDEX_TYPES:
        chosen = choose_platform(decode_json(top.data, Index, what=what), platform, what=what)
        top = await source.fetch(reference, chosen)
    if top.media_type not in MANIFEST_TYPES:
        raise UnsupportedArtifactError(
            f"{what} has the unknown type {top.media_type!r}", hint="it is no OCI artifact"
        )
    manifest = decode_json(top.data, Manifest, what=f"the manifest of {what}")
    layer = service_layer(manifest, what=what)
    config = await source.fetch(reference, manifest.config)
    offered = decode_config(config.data, what=what)
    _require_platform(offered, platform, what=what)
    return ArtifactContent(
        platform=offered, manifest=top, config=config, layer=await source.fetch(reference, layer)
    )


async def load_artifact(source: ContentSource, reference: Reference, platform: Platform | None) -> ServiceArtifact:
    """The service that `load_content` finds, decoded."""
    return decode_content(reference, await load_content(source, reference, platform))


def decode_content(reference: Reference, content: ArtifactContent) -> ServiceArtifact:
    """The service in `content`. Raises `UnsupportedArtifactError`, `IntegrityError`."""
    return decode_artifact(
        str(reference), manifest=content.manifest.data, config=content.config.data, layer=content.layer.data
    )


def _require_platform(offered: Platform, wanted: Platform | None, *, what: str) -> None:
    if wanted is not None and not wanted.runs(offered):
        raise UnsupportedArtifactError(
            f"{what} is for {offered}, not for {wanted}",
            hint="build it for that platform, or select nodes of the artifact's platform",
            available=(str(offered),),
        )
