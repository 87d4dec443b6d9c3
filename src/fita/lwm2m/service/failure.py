"""What goes wrong at a device in the words of the kubelet: `DeployError` with a reason that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fita.coap.code import Code
from fita.coap.errors import CoapError, ResponseError
from fita.lwm2m.errors import DeviceBusyError, Lwm2mError, SessionClosedError, UnknownDeviceError
from fita.lwm2m.objects.software import FIRST_FAILURE, SoftwareManagement, UpdateResult
from fita.model.device import DeviceProfile
from fita.model.runtime import DeployError, DeployReason
from fita.model.service import ServiceArtifact

ROOM_REASONS = frozenset({DeployReason.OUT_OF_STORAGE, DeployReason.OUT_OF_MEMORY, DeployReason.TOO_MANY_SERVICES})
"""What may be cured by removing a service."""

_RESULTS: dict[int, tuple[DeployReason, bool, str, str]] = {
    UpdateResult.NOT_ENOUGH_STORAGE: (
        DeployReason.OUT_OF_STORAGE, True, "has too little flash left for {name}",
        "remove a service from the device, or choose one with more storage",
    ),
    UpdateResult.OUT_OF_MEMORY: (
        DeployReason.OUT_OF_MEMORY, True, "has too little memory left for {name}",
        "remove a service from it, lower the container's memory limit, or choose a device with more memory",
    ),
    UpdateResult.CONNECTION_LOST: (
        DeployReason.DEVICE_UNREACHABLE, True, "lost the connection while {name} was sent",
        "it is sent again",
    ),
    UpdateResult.INTEGRITY_CHECK_FAILED: (
        DeployReason.INTEGRITY_CHECK_FAILED, True, "received {name} damaged",
        "it is sent again; if that does not help, build and push the service again",
    ),
    UpdateResult.UNSUPPORTED_PACKAGE_TYPE: (
        DeployReason.UNSUPPORTED_PLATFORM, False, "does not run what {name} was built for",
        "build the service for the device's platform",
    ),
    UpdateResult.INSTALLATION_FAILED: (
        DeployReason.START_FAILED, True, "could not install {name}",
        "see the device's error",
    ),
}  # fmt: skip


def result_error(
    instance: SoftwareManagement, artifact: ServiceArtifact, profile: DeviceProfile
) -> DeployError | None:
    """Why the device did not take a package, from update result and last error; None if it did not refuse it."""
    result = instance.update_result
    if result is None or result < FIRST_FAILURE:
        return None
    name = artifact.manifest.name
    if result in _RESULTS:
        reason, retryable, sentence, hint = _RESULTS[result]
    else:
        reason, retryable, sentence, hint = _device_defined(result, artifact, profile)
    message = f"the device {profile.endpoint} " + sentence.format(name=name)
    if instance.last_error:
        message += f": {instance.last_error}"
    return DeployError(reason, message, retryable=retryable, hint=hint)


def _device_defined(
    result: int, artifact: ServiceArtifact, profile: DeviceProfile
) -> tuple[DeployReason, bool, str, str]:
    needed = artifact.manifest.dependencies.sdk_api
    if result != UpdateResult.DEVICE_DEFINED:
        return DeployReason.DEVICE_REFUSED, True, f"refused {{name}} with the update result {result}", ""
    if needed > profile.api_version:
        return (
            DeployReason.UNSUPPORTED_API_VERSION, False,
            f"offers version {profile.api_version} of the service API, {{name}} needs {needed}",
            "update the device's runtime, or build the service for the older API",
        )  # fmt: skip
    return (
        DeployReason.TOO_MANY_SERVICES, True,
        f"does not take {{name}} besides its other services (it takes {profile.max_services})",
        "remove a service from the device, or choose another device",
    )  # fmt: skip


def start_error(instance: SoftwareManagement, artifact: ServiceArtifact, why: str) -> DeployError:
    """The service is on the device and does not run. `why` is for a device that does not say it."""
    return DeployError(
        DeployReason.START_FAILED,
        f"{artifact.manifest.name} did not start: {instance.last_error or why}",
        retryable=True,
        hint="the service's setup must return without an error",
    )


def unreachable(why: str) -> DeployError:
    """The device did not answer, or went away."""
    return DeployError(
        DeployReason.DEVICE_UNREACHABLE, why, retryable=True, hint="it is tried again when the device answers"
    )


def deploy_error(error: CoapError | Lwm2mError) -> DeployError:
    """What an operation raised, for the kubelet."""
    if isinstance(error, ResponseError):
        code = error.code
        if code == Code.REQUEST_ENTITY_TOO_LARGE:
            return DeployError(
                DeployReason.OUT_OF_STORAGE, f"the device answered {error.message}", retryable=True,
                hint="the service is too large for the device",
            )  # fmt: skip
        if code == Code.REQUEST_ENTITY_INCOMPLETE:
            return unreachable(f"the transfer to the device was interrupted: {error.message}")
        return DeployError(
            DeployReason.DEVICE_REFUSED, f"the device answered {error.message}", retryable=True, hint=error.hint
        )
    if isinstance(error, CoapError | UnknownDeviceError | SessionClosedError | DeviceBusyError):
        return unreachable(error.message)
    return DeployError(DeployReason.DEVICE_REFUSED, error.message, retryable=True, hint=error.hint)


@contextmanager
def as_deploy_errors() -> Iterator[None]:
    """Turn what operations raise into `DeployError`."""
    try:
        yield
    except (CoapError, Lwm2mError) as error:
        raise deploy_error(error) from error
