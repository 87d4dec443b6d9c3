"""What is known about an artifact, for people and programs that ask."""

from __future__ import annotations

import asyncio

import msgspec

from fita.model.platform import Platform
from fita.model.service import Port, ServiceArtifact
from fita.oci.artifact import ArtifactContent
from fita.oci.content import ContentSource, StoreSource, content_in, decode_content
from fita.oci.errors import OciError
from fita.oci.layout import LayoutStore
from fita.oci.manifest import INDEX_TYPES, Content, Index, decode_json, is_for_devices
from fita.oci.reference import Reference, parse_reference


class PortReport(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output; `type` is ``integer`` or ``float``."""

    key: str
    type: str
    data_model_mapping: str
    unit: str


class PlatformReport(msgspec.Struct, frozen=True, kw_only=True):
    """The service for one platform. `code_bytes` go to the device, `download_bytes` come from a registry."""

    platform: str
    digest: str
    code_bytes: int
    download_bytes: int
    name: str
    version: int
    api: int
    memory_bytes: int
    sensors: tuple[str, ...]
    data_model: tuple[str, ...]
    inputs: tuple[PortReport, ...]
    outputs: tuple[PortReport, ...]


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact by `reference`: one service for each of `platforms`; `others` are images for computers."""

    reference: str
    digest: str
    media_type: str
    platforms: tuple[PlatformReport, ...]
    others: tuple[str, ...] = ()


class StoreItem(msgspec.Struct, frozen=True, kw_only=True):
    """One name in the local store; `problem` says why nothing else is known about it."""

    reference: str
    digest: str = ""
    platforms: tuple[str, ...] = ()
    code_bytes: int = 0
    problem: str = ""


async def list_store(store: LayoutStore) -> list[StoreItem]:
    """Everything in `store` by name. What is damaged or no service has its problem. Raises `StoreError`."""
    references = await asyncio.to_thread(store.references)
    return [await _item(StoreSource(store), reference) for reference in references]


async def _item(source: ContentSource, name: str) -> StoreItem:
    try:
        found = await inspect(source, parse_reference(name))
    except OciError as error:
        return StoreItem(reference=name, problem=error.message)
    return StoreItem(
        reference=name,
        digest=found.digest,
        platforms=tuple(service.platform for service in found.platforms),
        code_bytes=max((service.code_bytes for service in found.platforms), default=0),
    )


async def inspect(source: ContentSource, reference: Reference) -> Inspection:
    """What `reference` is in `source`. Raises what `load_content` raises."""
    top = await source.resolve(reference)
    wanted, others = _platforms(top, str(reference))
    contents = [await content_in(source, reference, top, platform) for platform in wanted]
    return Inspection(
        reference=str(reference),
        digest=top.digest,
        media_type=top.media_type,
        platforms=tuple(_report(content, decode_content(reference, content)) for content in contents),
        others=others,
    )


def _platforms(top: Content, what: str) -> tuple[list[Platform | None], tuple[str, ...]]:
    """The platforms for devices in `top`, each once; None is the only one of a single manifest."""
    if top.media_type not in INDEX_TYPES:
        return [None], ()
    entries = decode_json(top.data, Index, what=what).manifests
    wanted = dict.fromkeys(entry.platform for entry in entries if entry.platform and is_for_devices(entry))
    return list(wanted), tuple(str(entry.platform) for entry in entries if not is_for_devices(entry))


def _report(content: ArtifactContent, artifact: ServiceArtifact) -> PlatformReport:
    service = artifact.manifest
    return PlatformReport(
        platform=str(artifact.platform),
        digest=artifact.digest,
        code_bytes=len(artifact.binary),
        download_bytes=sum(len(part.data) for part in (content.manifest, content.config, content.layer)),
        name=service.name,
        version=service.version,
        api=service.dependencies.sdk_api,
        memory_bytes=service.memory_bytes,
        sensors=service.sensors,
        data_model=service.data_model,
        inputs=tuple(map(_port, service.inputs)),
        outputs=tuple(map(_port, service.outputs)),
    )


def _port(port: Port) -> PortReport:
    return PortReport(
        key=port.key, type=port.type.name.lower(), data_model_mapping=port.data_model_mapping, unit=port.unit
    )
