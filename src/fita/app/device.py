"""The `Device` custom resource: what it says, and how a person's enrolment becomes one.

An endpoint's resource may have any name and there may be several, since people write them too: who enrols or
revokes an endpoint looks for resources that name it, never for a name alone.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from fita.base.errors import ConfigurationError, FitaError
from fita.kube.client import KubernetesClient
from fita.kube.errors import AlreadyExistsError, NotFoundError
from fita.kube.resource import DEVICES, RawObject
from fita.model.device import Endpoint, is_endpoint
from fita.model.kubernetes import ObjectMeta

MAX_NAME_CHARACTERS = 253
_HASH_DIGITS = 8
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class DeviceSpec(msgspec.Struct, frozen=True):
    """``spec`` of a `Device`. An empty `endpoint` means the resource's own name."""

    endpoint: str = ""
    enabled: bool = True


class DeviceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """``status`` of a `Device`: of `node`, with a registration of `lifetime_seconds` (0: not known)."""

    online: bool = False
    node: str = ""
    lifetime_seconds: int = 0


class DeviceResource(msgspec.Struct, frozen=True):
    """A `Device` as stored in Kubernetes."""

    metadata: ObjectMeta
    spec: DeviceSpec = DeviceSpec()
    status: DeviceStatus = DeviceStatus()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.spec.endpoint or self.metadata.name)


class NotEnrolledError(FitaError):
    """No resource names the endpoint."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"device {endpoint} is not enrolled", hint="see `fita device list`")


class NameTakenError(FitaError):
    """The resource that an enrolment would make belongs to another endpoint."""

    def __init__(self, endpoint: str, name: str) -> None:
        super().__init__(
            f"the resource {name} that would enrol {endpoint} belongs to another device",
            hint=f"apply a Device of another name with `spec.endpoint: {endpoint}`",
        )


def resource_name(endpoint: Endpoint) -> str:
    """The name of the resource that enrols `endpoint`: the endpoint itself where Kubernetes takes it as a name.

    Else what a name may not hold becomes a hyphen, and digits of the endpoint's hash tell ``a_b`` from ``a.B``.
    """
    if _SUBDOMAIN.fullmatch(endpoint) and len(endpoint) <= MAX_NAME_CHARACTERS:
        return endpoint
    words = re.sub(r"[^a-z0-9]+", "-", endpoint.lower()).strip("-")
    digits = hashlib.sha256(endpoint.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{words}-{digits}" if words else f"device-{digits}"


async def enroll(client: KubernetesClient, endpoint: str) -> None:
    """Let the device register: enable the resources that name it, or make one.

    Raises `ConfigurationError` for what the gateway takes from no device, `NameTakenError`, `KubeError`.
    """
    name = _checked(endpoint)
    present = await _naming(client, name)
    for resource in present:
        if not resource.spec.enabled:
            await client.patch(DEVICES, resource.metadata.name, _enabling(resource.metadata))
    if present:
        return
    try:
        await client.create(DEVICES, _manifest(name))
    except AlreadyExistsError as error:
        raise NameTakenError(endpoint, resource_name(name)) from error


async def revoke(client: KubernetesClient, endpoint: str) -> None:
    """Delete every resource that names the device. Raises as `enroll` does, and `NotEnrolledError`."""
    present = await _naming(client, _checked(endpoint))
    if not present:
        raise NotEnrolledError(endpoint)
    for resource in present:
        try:
            await client.delete(DEVICES, resource.metadata.name, uid=resource.metadata.uid)
        except NotFoundError:
            continue  # somebody else was faster


def _checked(endpoint: str) -> Endpoint:
    if not is_endpoint(endpoint):
        raise ConfigurationError(
            f"{endpoint!r} cannot be a device's endpoint name",
            hint="the gateway takes 1 to 128 visible ASCII characters, no blanks",
        )
    return Endpoint(endpoint)


async def _naming(client: KubernetesClient, endpoint: Endpoint) -> list[DeviceResource]:
    listed = await client.list(DEVICES)
    resources = [msgspec.convert(item, DeviceResource) for item in listed.items]
    return [resource for resource in resources if resource.endpoint == endpoint]


def _manifest(endpoint: Endpoint) -> RawObject:
    return {
        "apiVersion": DEVICES.api_version,
        "kind": DEVICES.kind,
        "metadata": {"name": resource_name(endpoint)},
        "spec": {"endpoint": endpoint, "enabled": True},
    }


def _enabling(metadata: ObjectMeta) -> RawObject:
    """Only for the resource that was read: one made anew under its name may be another device's."""
    return {"metadata": {"uid": metadata.uid}, "spec": {"enabled": True}}
