"""What is written to resource 9/x/2: the service package of docs/device-protocol.md, format version 1.

For our own runtime the code travels with a header that says what it is and whose; for FITA's embServe (any other
platform) the binary travels as it is, because that is what such a device expects.
"""

from __future__ import annotations

import hashlib
import struct

import msgspec

from fita.model.platform import OS_MICROPYTHON, Platform
from fita.model.runtime import DeployError, DeployReason, ServiceDeployment, WorkloadId
from fita.model.service import Port

MAGIC = b"FSP"
FORMAT_VERSION = 1
MAX_HEADER_BYTES = 2048
DIGEST_BYTES = 32

PortEntry = tuple[str, int, str, str]
"""Key, type, data model mapping, unit."""


class PackageHeader(msgspec.Struct, frozen=True, kw_only=True, rename={"inputs": "in", "outputs": "out"}):
    """The JSON header. `mem` is the heap quota in bytes (0: the device's default), `size` the code's length."""

    id: WorkloadId
    digest: str
    name: str
    version: int
    api: int
    platform: str
    inputs: tuple[PortEntry, ...] = ()
    outputs: tuple[PortEntry, ...] = ()
    env: dict[str, str] = {}
    mem: int = 0
    size: int


def takes_package(platform: Platform) -> bool:
    """Whether code for `platform` travels in a package, not as it is."""
    return platform.os == OS_MICROPYTHON


def encode_package(deployment: ServiceDeployment) -> bytes:
    """The bytes to write to 9/x/2. Raises `DeployError` when the header does not fit."""
    artifact = deployment.artifact
    if not takes_package(artifact.platform):
        return artifact.binary
    header = msgspec.json.encode(_header(deployment))
    if len(header) > MAX_HEADER_BYTES:
        raise DeployError(
            DeployReason.INVALID_PACKAGE,
            f"names and environment of {artifact.manifest.name} take {len(header)} bytes,"
            f" a device accepts {MAX_HEADER_BYTES}",
            retryable=False,
            hint="give the container fewer or shorter environment variables",
        )
    content = MAGIC + struct.pack(">BH", FORMAT_VERSION, len(header)) + header + artifact.binary
    return content + hashlib.sha256(content).digest()


def _header(deployment: ServiceDeployment) -> PackageHeader:
    artifact, manifest = deployment.artifact, deployment.artifact.manifest
    return PackageHeader(
        id=deployment.workload,
        digest=artifact.digest,
        name=manifest.name,
        version=manifest.version,
        api=manifest.dependencies.sdk_api,
        platform=str(artifact.platform),
        inputs=_entries(manifest.inputs),
        outputs=_entries(manifest.outputs),
        env=deployment.environment,
        mem=deployment.memory_limit_bytes or manifest.memory_bytes,
        size=len(artifact.binary),
    )


def _entries(ports: tuple[Port, ...]) -> tuple[PortEntry, ...]:
    return tuple((port.key, int(port.type), port.data_model_mapping, port.unit) for port in ports)
