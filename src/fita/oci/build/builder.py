"""A service folder becomes an artifact in the local store. The same folder always gets the same digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from fita.model.platform import Platform
from fita.oci.artifact import ArtifactContent, encode_artifact
from fita.oci.build.check import Finding, check_code
from fita.oci.build.compiler import compile_code
from fita.oci.build.source import PORTABLE_PLATFORM, ServiceSource, read_source
from fita.oci.errors import InvalidReferenceError
from fita.oci.layout import LayoutStore
from fita.oci.mpy import platform_of
from fita.oci.reference import LOCAL_REGISTRY, Reference


class BuiltService(msgspec.Struct, frozen=True, kw_only=True):
    """What a build put into the store. `size_bytes` is the code for a device, the largest of all platforms."""

    reference: Reference
    digest: str
    size_bytes: int
    platforms: tuple[Platform, ...]
    findings: tuple[Finding, ...] = ()


def build_service(
    folder: Path,
    store: LayoutStore,
    reference: Reference | None = None,
    platforms: Sequence[Platform] = (),
) -> BuiltService:
    """Check and compile the service in `folder` and keep it in `store` under `reference`.

    Without a `reference` it is ``fita.local/<name>:<version>``; without `platforms` it is built for those of its
    ``service.toml``, by default for every device of our runtime. Blocks. Raises `ServiceBuildError`,
    `CompilerMissingError`, `StoreError`, `InvalidReferenceError`.
    """
    source = read_source(folder)
    if reference is None:
        reference = Reference(LOCAL_REGISTRY, source.manifest.name, str(source.manifest.version))
    if reference.digest:
        raise InvalidReferenceError(
            f"{reference} names a digest, which only the build itself gives", hint="give a name and a tag"
        )
    findings = check_code(source.code_path, source.code, source.manifest)
    artifacts = _compile(source, platforms or source.platforms or (PORTABLE_PLATFORM,))
    digest = store.put(reference, [artifact for artifact, _ in artifacts])
    return BuiltService(
        reference=reference,
        digest=digest,
        size_bytes=max(size_bytes for _, size_bytes in artifacts),
        platforms=tuple(artifact.platform for artifact, _ in artifacts),
        findings=tuple(findings),
    )


def _compile(source: ServiceSource, platforms: Sequence[Platform]) -> list[tuple[ArtifactContent, int]]:
    """One artifact, with its code's size, for each platform that the compiled code really needs.

    Code without native parts is the same for every processor, whatever was asked for: then there is one artifact.
    """
    compiled: dict[Platform, tuple[ArtifactContent, int]] = {}
    for platform in platforms:
        mpy = compile_code(source.code_path, source.code, platform)
        needed = platform_of(mpy)
        compiled[needed] = encode_artifact(source.manifest, needed, mpy), len(mpy)
    return [compiled[platform] for platform in sorted(compiled, key=str)]
