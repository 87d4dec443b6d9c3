"""OCI manifests, indexes and descriptors as they are on the wire and on disk, and how they are read with distrust.

Source: https://github.com/opencontainers/image-spec/blob/main/manifest.md, image-index.md, descriptor.md
"""

from __future__ import annotations

import hashlib
from typing import Annotated, TypeVar

import msgspec

from fita.model.platform import Platform
from fita.oci.errors import IntegrityError, UnsupportedArtifactError

MEDIA_TYPE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MEDIA_TYPE_INDEX = "application/vnd.oci.image.index.v1+json"
MEDIA_TYPE_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MEDIA_TYPE_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEX_TYPES = (MEDIA_TYPE_INDEX, MEDIA_TYPE_DOCKER_INDEX)
MANIFEST_TYPES = (MEDIA_TYPE_MANIFEST, MEDIA_TYPE_DOCKER_MANIFEST)

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_TITLE = "org.opencontainers.image.title"
ANNOTATION_VERSION = "org.opencontainers.image.version"

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""What registries promise to store at most (distribution-spec, pushing manifests)."""
MAX_BLOB_BYTES = 16 * 1024 * 1024
"""Far more than any device can hold; a larger config or layer is refused before it is read."""

_COMPUTERS = ("linux", "windows", "darwin", "unknown")
"""Operating systems that no device of ours has; `unknown` is what tools give to attestations."""

T = TypeVar("T")


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What names content: type, digest, size. Other digest algorithms than SHA-256 are refused."""

    media_type: str
    digest: Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    platform: Platform | None = None
    annotations: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One artifact for one platform."""

    schema_version: int
    media_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The manifests of one artifact for several platforms; also the ``index.json`` of a layout."""

    schema_version: int
    media_type: str = ""
    manifests: list[Descriptor]
    annotations: dict[str, str] = {}


class Content(msgspec.Struct, frozen=True):
    """Bytes with their media type."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    def descriptor(
        self, *, platform: Platform | None = None, annotations: dict[str, str] | None = None
    ) -> Descriptor:
        """What names these bytes."""
        return Descriptor(
            media_type=self.media_type,
            digest=self.digest,
            size=len(self.data),
            platform=platform,
            annotations=annotations or {},
        )


def digest_of(data: bytes) -> str:
    """``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def verify(data: bytes, digest: str, *, what: str) -> bytes:
    """`data`, if it has `digest`; `IntegrityError` otherwise."""
    if digest_of(data) != digest:
        raise IntegrityError(
            f"{what} does not have its digest {digest}", hint="it was damaged or replaced; pull or build it again"
        )
    return data


def decode_json(data: bytes, type_: type[T], *, what: str) -> T:
    """`data` as `type_`; `UnsupportedArtifactError` when it is something else."""
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnsupportedArtifactError(f"{what} is not one: {error}") from error


def is_for_devices(entry: Descriptor) -> bool:
    """Whether an entry of an index may be a service for a device, and not an image for a computer."""
    return entry.platform is None or entry.platform.os not in _COMPUTERS


def choose_platform(index: Index, platform: Platform | None, *, what: str) -> Descriptor:
    """The entry of `index` that a device of `platform` runs; one with native code wins over one for any.

    Without a platform there must be just one entry that is not for computers. Raises `UnsupportedArtifactError`
    that lists what there is.
    """
    entries = [(entry.platform, entry) for entry in index.manifests if entry.platform is not None]
    if platform is None:
        fitting = [entry for _, entry in entries if is_for_devices(entry)]
    else:
        # `sorted` is stable: the index's own order decides among equals.
        ranked = sorted(entries, key=lambda pair: pair[0].architecture != platform.architecture)
        fitting = [entry for offered, entry in ranked if platform.runs(offered)]
    if not fitting or (platform is None and len(fitting) > 1):
        available = tuple(sorted(str(offered) for offered, _ in entries))
        raise UnsupportedArtifactError(
            f"{what} has no artifact for {platform}" if platform else f"{what} has no artifact that stands out",
            hint=f"it exists for {', '.join(available) or 'no platform at all'}",
            available=available,
        )
    return fitting[0]
