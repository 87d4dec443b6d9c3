"""A service as OCI content: a config with the platform, a layer with the service, a manifest that names both.

The layer is a JSON document of type `MEDIA_TYPE_SERVICE`. These fields are FITA's workload form: ``name``,
``version``, ``service`` (the binary in base64), ``data_model``, ``dependencies.sdk_api``, ``inputs``, ``outputs``
(lists of ``key``, ``type`` and optional ``data_model_mapping``). Optional additions that other readers ignore:
``unit`` of an input or output, ``sensors`` (capabilities that the device must have) and ``memory_bytes`` (the heap
the service asks for). Encoding is deterministic: the same service always has the same digest.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fita.model.platform import OS_MICROPYTHON, Platform
from fita.model.service import MEDIA_TYPE_CONFIG, MEDIA_TYPE_SERVICE, Port, ServiceArtifact, ServiceManifest
from fita.oci.errors import IntegrityError, UnsupportedArtifactError
from fita.oci.manifest import (
    ANNOTATION_TITLE,
    ANNOTATION_VERSION,
    MEDIA_TYPE_MANIFEST,
    Content,
    Descriptor,
    Manifest,
    decode_json,
    digest_of,
)
from fita.oci.mpy import platform_of

_LAYER_FILE_NAME = "service.json"
_MEDIA_TYPE_FAMILY = "application/vnd.embserve."


class PortDocument(Port, frozen=True, kw_only=True, omit_defaults=True):
    """An input or output as it may be in a layer: services that others have built have freer keys."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x20/\x7f]{1,64}$")]


class ServiceDocument(ServiceManifest, frozen=True, kw_only=True):
    """The layer ``service.json``: the manifest and the code. Services that others have built have freer names."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
    inputs: tuple[PortDocument, ...] = ()
    outputs: tuple[PortDocument, ...] = ()
    service: bytes

    def manifest(self) -> ServiceManifest:
        """The document without the code."""
        fields = {name: getattr(self, name) for name in ServiceManifest.__struct_fields__}
        fields["inputs"] = tuple(Port(**msgspec.structs.asdict(port)) for port in self.inputs)
        fields["outputs"] = tuple(Port(**msgspec.structs.asdict(port)) for port in self.outputs)
        return ServiceManifest(**fields)


class RootFilesystem(msgspec.Struct, frozen=True):
    """What tools for container images expect in a config: the digests of the layers."""

    diff_ids: list[str]
    type: str = "layers"


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The config blob. Only the platform has a meaning for FITA."""

    architecture: str
    os: str
    variant: str = ""
    rootfs: RootFilesystem = RootFilesystem([])

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)


class ArtifactContent(msgspec.Struct, frozen=True, kw_only=True):
    """The three pieces of content that one artifact for one platform consists of."""

    platform: Platform
    manifest: Content
    config: Content
    layer: Content


def encode_artifact(service: ServiceManifest, platform: Platform, binary: bytes) -> ArtifactContent:
    """The content of an artifact; equal arguments give equal bytes."""
    fields = msgspec.structs.asdict(service)
    fields["inputs"] = tuple(PortDocument(**msgspec.structs.asdict(port)) for port in service.inputs)
    fields["outputs"] = tuple(PortDocument(**msgspec.structs.asdict(port)) for port in service.outputs)
    document = ServiceDocument(**fields, service=binary)
    layer = Content(MEDIA_TYPE_SERVICE, msgspec.json.encode(document))
    image = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        rootfs=RootFilesystem([layer.digest]),
    )
    config = Content(MEDIA_TYPE_CONFIG, msgspec.json.encode(image))
    manifest = Manifest(
        schema_version=2,
        media_type=MEDIA_TYPE_MANIFEST,
        config=config.descriptor(),
        layers=[layer.descriptor(annotations={ANNOTATION_TITLE: _LAYER_FILE_NAME})],
        annotations={ANNOTATION_TITLE: service.name, ANNOTATION_VERSION: str(service.version)},
    )
    return ArtifactContent(
        platform=platform,
        manifest=Content(MEDIA_TYPE_MANIFEST, msgspec.json.encode(manifest)),
        config=config,
        layer=layer,
    )


def service_layer(manifest: Manifest, *, what: str) -> Descriptor:
    """The layer that holds the service; `UnsupportedArtifactError` when `manifest` is something else."""
    for layer in manifest.layers:
        if layer.media_type == MEDIA_TYPE_SERVICE:
            return layer
    types = ", ".join(sorted({layer.media_type for layer in manifest.layers})) or "none"
    newer = any(layer.media_type.startswith(_MEDIA_TYPE_FAMILY) for layer in manifest.layers)
    raise UnsupportedArtifactError(
        f"{what} has no layer of the type {MEDIA_TYPE_SERVICE}; its layers: {types}",
        hint="it is a newer form of service and needs a newer FITA"
        if newer
        else "it is not a service for a device; services are made by `fita service build`",
    )


def decode_config(data: bytes, *, what: str) -> Platform:
    """The platform that a config blob names."""
    return decode_json(data, ImageConfig, what=f"the config of {what}").platform


def decode_artifact(reference: str, *, manifest: bytes, config: bytes, layer: bytes) -> ServiceArtifact:
    """The service in content whose digests have been verified.

    Raises `UnsupportedArtifactError`, and `IntegrityError` when the code is not for the platform of the config.
    """
    platform = decode_config(config, what=reference)
    document = decode_json(layer, ServiceDocument, what=f"the service of {reference}")
    if platform.os == OS_MICROPYTHON and (compiled := platform_of(document.service)) != platform:
        raise IntegrityError(
            f"{reference} claims to be for {platform}, but its code is for {compiled}",
            hint="it was put together wrongly; build it again",
        )
    return ServiceArtifact(
        reference=reference,
        digest=digest_of(manifest),
        platform=platform,
        manifest=document.manifest(),
        binary=document.service,
    )
