"""The local store: an OCI image layout on disk, which skopeo and oras read and write too.

Every entry of ``index.json`` carries its full reference as ``org.opencontainers.image.ref.name``. Several builders
may work at the same time: one after the other changes the index, under a lock. Blobs are written before the index
that names them, so that a killed builder or a full disk leaves the store as it was. What had a reference before it
was built again stays in the store without a name, so that pods pinned to its digest find it; nothing is ever
removed here.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from fita.oci.artifact import ArtifactContent
from fita.oci.blob import BlobFolder, locked, remove_partial_files, replace_file
from fita.oci.errors import ArtifactNotFoundError, IntegrityError, OciError, StoreError
from fita.oci.manifest import (
    ANNOTATION_REF_NAME,
    MAX_BLOB_BYTES,
    MAX_MANIFEST_BYTES,
    MEDIA_TYPE_INDEX,
    Content,
    Descriptor,
    Index,
    Manifest,
    decode_json,
)
from fita.oci.reference import Reference

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class LayoutStore:
    """The store at `root`. It need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = BlobFolder(root, durable=True)

    def put(self, reference: Reference, artifacts: Sequence[ArtifactContent]) -> str:
        """Keep `artifacts`, one for each platform, under `reference`; several are joined by an index.

        Returns the digest that `reference` has from now on. Raises `StoreError`.
        """
        blobs = [blob for artifact in artifacts for blob in (artifact.config, artifact.layer, artifact.manifest)]
        top = artifacts[0].manifest
        if len(artifacts) > 1:
            top = _join(artifacts)
        return self.put_content(reference, top, blobs)

    def put_content(self, reference: Reference, top: Content, blobs: Sequence[Content]) -> str:
        """Keep `top` (a manifest or an index) under `reference` and the `blobs` that it needs."""
        with locked(self.root / ".lock"):
            remove_partial_files(self.root)
            remove_partial_files(self.root / "blobs" / "sha256")
            for blob in (*blobs, top):
                self._blobs.write(blob.data)
            entry = top.descriptor(annotations={ANNOTATION_REF_NAME: str(reference)})
            index = _replace_entry(self._index(), entry)
            if not (self.root / "oci-layout").exists():
                replace_file(self.root / "oci-layout", _LAYOUT, durable=True)
            replace_file(self.root / "index.json", msgspec.json.encode(index), durable=True)
        return top.digest

    def references(self) -> list[str]:
        """The names of everything in the store, in order."""
        names = (entry.annotations.get(ANNOTATION_REF_NAME) for entry in self._index().manifests)
        return sorted(name for name in names if name)

    def resolve(self, reference: Reference) -> Content:
        """The manifest or index of `reference`. Raises `ArtifactNotFoundError`, `IntegrityError`."""
        for entry in self._index().manifests:
            if _is_named(entry, reference):
                return Content(entry.media_type, self.read(reference, entry))
        if reference.digest:
            return self._resolve_inner(reference)
        raise self._not_found(reference)

    def read(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """What `descriptor`, a part of `reference`, names. Raises `ArtifactNotFoundError`, `IntegrityError`."""
        data = self._blobs.read(descriptor.digest, limit_bytes=MAX_BLOB_BYTES)
        if data is None:
            raise ArtifactNotFoundError(
                str(reference),
                f"the store {self.root} names {reference} but lacks its part {descriptor.digest}",
                hint="build or pull it again",
            )
        if len(data) != descriptor.size:
            raise IntegrityError(f"{descriptor.digest} of {reference} does not have the size that is given for it")
        return data

    def _resolve_inner(self, reference: Reference) -> Content:
        """A manifest that only an index in the store names."""
        data = self._blobs.read(reference.digest, limit_bytes=MAX_MANIFEST_BYTES)
        if data is None:
            raise self._not_found(reference)
        manifest = decode_json(data, Manifest, what=str(reference))
        return Content(manifest.media_type, data)

    def _index(self) -> Index:
        path = self.root / "index.json"
        try:
            return decode_json(path.read_bytes(), Index, what=str(path))
        except (FileNotFoundError, NotADirectoryError):
            return Index(schema_version=2, media_type=MEDIA_TYPE_INDEX, manifests=[])
        except OSError as error:
            raise StoreError(path, f"cannot be read: {error.strerror}") from error
        except OciError as error:
            raise StoreError(
                path, f"is no index of an OCI layout: {error.message}", hint="move the folder away and build again"
            ) from error

    def _not_found(self, reference: Reference) -> ArtifactNotFoundError:
        return ArtifactNotFoundError(
            str(reference),
            f"{reference} is not in the local store {self.root}",
            hint="build it with `fita service build`"
            if reference.is_local
            else "pull it with `fita service pull`",
        )


def _join(artifacts: Sequence[ArtifactContent]) -> Content:
    """The index of one artifact for several platforms."""
    entries = [artifact.manifest.descriptor(platform=artifact.platform) for artifact in artifacts]
    index = Index(schema_version=2, media_type=MEDIA_TYPE_INDEX, manifests=entries)
    return Content(MEDIA_TYPE_INDEX, msgspec.json.encode(index))


def _is_named(entry: Descriptor, reference: Reference) -> bool:
    if reference.digest:
        return entry.digest == reference.digest
    return entry.annotations.get(ANNOTATION_REF_NAME) == str(reference)


def _replace_entry(index: Index, entry: Descriptor) -> Index:
    """`index` with `entry`. What had its name stays without one, so that its digest can still be found."""
    name = entry.annotations[ANNOTATION_REF_NAME]
    others = [old for old in index.manifests if old.annotations.get(ANNOTATION_REF_NAME) not in (None, name)]
    named = [*others, entry]
    unnamed: dict[str, Descriptor] = {}
    for old in index.manifests:
        if all(old.digest != other.digest for other in named):
            unnamed[old.digest] = msgspec.structs.replace(old, annotations={})
    return msgspec.structs.replace(index, manifests=[*named, *unnamed.values()])
