"""What the kubelet and a device's runtime say to each other, in words of neither protocol."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from fita.base.errors import FitaError
from fita.model.device import Endpoint
from fita.model.service import ServiceArtifact

WorkloadId = NewType("WorkloadId", str)
"""``<pod uid>/<container name>``: stored on the device with the service, so that a restarted gateway knows it."""


class ServicePhase(StrEnum):
    """Where a service on a device stands."""

    INSTALLING = "installing"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    CRASHED = "crashed"


class ServiceDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """An order to run `artifact` as `workload`: the environment and the heap quota come from the pod."""

    workload: WorkloadId
    artifact: ServiceArtifact
    environment: dict[str, str] = {}
    memory_limit_bytes: int = 0


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A service as its device reports it. `workload` is empty when somebody else installed it.

    `instance` is the runtime's own id (LwM2M: the instance of object 9). `error` is the last failure in
    words.
    """

    workload: WorkloadId
    instance: int
    name: str
    version: str
    digest: str
    phase: ServicePhase
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    uptime_s: int | None = None
    restart_count: int = 0
    error: str = ""


class OutputValue(msgspec.Struct, frozen=True, kw_only=True):
    """The latest value of one output of one service. `received_at` is the gateway's wall time."""

    endpoint: Endpoint
    workload: WorkloadId
    service: str
    key: str
    value: float | int
    received_at: datetime
    unit: str = ""


class DeployReason(StrEnum):
    """Why a device did not take or start a service: the container's waiting or terminated reason."""

    DEVICE_UNREACHABLE = "DeviceUnreachable"
    OUT_OF_MEMORY = "OutOfMemory"
    OUT_OF_STORAGE = "OutOfStorage"
    UNSUPPORTED_PLATFORM = "UnsupportedPlatform"
    UNSUPPORTED_API_VERSION = "UnsupportedAPIVersion"
    INTEGRITY_CHECK_FAILED = "IntegrityCheckFailed"
    INVALID_PACKAGE = "InvalidPackage"
    TOO_MANY_SERVICES = "TooManyServices"
    START_FAILED = "StartError"
    DEVICE_REFUSED = "DeviceRefused"


class DeployError(FitaError):
    """A device did not take or start a service. `retryable` says whether the same order may work later."""

    def __init__(self, reason: DeployReason, message: str, *, retryable: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.retryable = retryable
