"""Why a pod does not run, in a kubelet's words: the reason that ``kubectl get pods`` shows.

Reasons that kubelets use keep their meaning (`InvalidImageName`, `ErrImagePull`, `ImagePullBackOff`,
`ErrImageNeverPull`, `RegistryUnavailable`, `CreateContainerConfigError`, `CrashLoopBackOff`, `OutOfmemory`); what
only devices have gets a name of its own.

Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/types.go and
https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/container/sync_result.go
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fita.base.errors import FitaError
from fita.kube.errors import ForbiddenError
from fita.model.runtime import DeployError, DeployReason
from fita.oci.errors import (
    ArtifactNotFoundError,
    IntegrityError,
    InvalidReferenceError,
    OciError,
    RegistryUnavailableError,
    UnsupportedArtifactError,
)
from fita.oci.puller import POLICY_NEVER


class PodReason(StrEnum):
    """Reasons that are not a device's (`DeployReason`)."""

    CONTAINER_CREATING = "ContainerCreating"
    UNSUPPORTED_POD = "UnsupportedPod"
    MISSING_CAPABILITY = "MissingCapability"
    CONFIG_ERROR = "CreateContainerConfigError"
    INVALID_IMAGE_NAME = "InvalidImageName"
    ERR_IMAGE_PULL = "ErrImagePull"
    ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"
    ERROR = "Error"
    DEVICE_LOST = "DeviceLost"
    OUT_OF_CPU = "OutOfcpu"
    OUT_OF_MEMORY = "OutOfmemory"
    OUT_OF_STORAGE = "OutOfephemeral-storage"
    OUT_OF_PODS = "OutOfpods"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a pod does not run. `retryable`: the same attempt may work later; `final`: the pod failed for good."""

    reason: str
    message: str
    retryable: bool = True
    final: bool = False

    @property
    def is_start(self) -> bool:
        """Whether the service was on the device and did not start."""
        return self.reason == DeployReason.START_FAILED

    def again(self) -> Failure:
        """The same after another vain attempt, as a kubelet says it."""
        if self.reason != PodReason.ERR_IMAGE_PULL:
            return self
        return msgspec.structs.replace(
            self, reason=PodReason.IMAGE_PULL_BACK_OFF, message=f"Back-off pulling image: {self.message}"
        )


def pull_failure(error: OciError, *, pull_policy: str) -> Failure:
    """Why an image could not be had."""
    match error:
        case InvalidReferenceError():
            reason: str = PodReason.INVALID_IMAGE_NAME
        case ArtifactNotFoundError() if pull_policy == POLICY_NEVER:
            reason = PodReason.ERR_IMAGE_NEVER_PULL
        case RegistryUnavailableError():
            reason = PodReason.REGISTRY_UNAVAILABLE
        case IntegrityError():
            reason = DeployReason.INTEGRITY_CHECK_FAILED
        case UnsupportedArtifactError(available=available):
            reason = DeployReason.UNSUPPORTED_PLATFORM if available else DeployReason.INVALID_PACKAGE
        case _:
            reason = PodReason.ERR_IMAGE_PULL
    return Failure(reason=reason, message=str(error), retryable=reason != PodReason.INVALID_IMAGE_NAME)


def pull_timeout(image: str, deadline_s: float) -> Failure:
    """An image that did not arrive in time."""
    return Failure(
        reason=PodReason.REGISTRY_UNAVAILABLE, message=f"{image} could not be pulled within {deadline_s:g} s"
    )


def deploy_failure(error: DeployError) -> Failure:
    """Why a device did not take or start a service."""
    return Failure(reason=error.reason, message=str(error), retryable=error.retryable)


def deploy_timeout(what: str, deadline_s: float) -> Failure:
    """A device that did not do something in time."""
    return Failure(
        reason=DeployReason.DEVICE_UNREACHABLE, message=f"the device did not finish {what} within {deadline_s:g} s"
    )


def config_failure(message: str, *, retryable: bool = True) -> Failure:
    """What a pod refers to (a ConfigMap, a Secret, a field) cannot be used."""
    return Failure(reason=PodReason.CONFIG_ERROR, message=message, retryable=retryable)


def reference_failure(kind: str, name: str, error: ForbiddenError) -> Failure:
    """A ConfigMap or Secret may not be read."""
    return config_failure(f'the gateway may not read {kind} "{name}": {error.message}')


def unexpected_failure(error: FitaError) -> Failure:
    """What nobody foresaw, so that the pod says it at least."""
    return Failure(reason=PodReason.ERROR, message=str(error))
