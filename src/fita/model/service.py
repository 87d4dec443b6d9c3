"""A service as it travels: manifest, artifact, and the document that an OCI layer holds.

The layer ``service.json`` (`MEDIA_TYPE_SERVICE`) is FITA's workload form; the fields after `outputs` are
ours and optional, so readers of the older form keep working.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from fita.model.platform import Platform

MEDIA_TYPE_SERVICE = "application/vnd.embserve.v1+json"
MEDIA_TYPE_CONFIG = "application/vnd.oci.image.config.v1+json"
SERVICE_API_VERSION = 1
"""The newest service API that this FITA builds for."""


class ValueType(IntEnum):
    """The type of an input or output value on the wire."""

    INTEGER = 0
    FLOAT = 1


class Port(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An input or output of a service. `data_model_mapping` is like ``lwm2m:3303/x/5700``."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,31}$")]
    type: ValueType
    data_model_mapping: str = ""
    unit: str = ""


class Dependencies(msgspec.Struct, frozen=True):
    """What a service needs of the runtime."""

    sdk_api: int = SERVICE_API_VERSION


class ServiceManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is and needs, without its code.

    `memory_bytes` is the heap quota the service asks for (0: the runtime's default);
    `sensors` are capability names that the device must have.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    version: Annotated[int, msgspec.Meta(ge=0)]
    data_model: tuple[str, ...] = ()
    dependencies: Dependencies = Dependencies()
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    sensors: tuple[str, ...] = ()
    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


class ServiceArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """A service as pulled: `digest` is that of the OCI manifest, `binary` the code for `platform`."""

    reference: str
    digest: str
    platform: Platform
    manifest: ServiceManifest
    binary: bytes
