"""The environment of a service: a container's `env` and `envFrom`, resolved as a kubelet does.

ConfigMaps and Secrets are read when a service is deployed and never again: as for any pod, a change of theirs
needs a new pod.

Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/ and
https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING

import msgspec

from fita.kube.client import KubernetesClient
from fita.kube.errors import ForbiddenError, NotFoundError
from fita.kube.resource import CONFIG_MAPS, SECRETS, Resource
from fita.kubelet.errors import PodFailureError
from fita.kubelet.pod.failure import config_failure, reference_failure
from fita.model.kubernetes import Container, EnvVar, EnvVarSource, KeySelector, Pod, ResourceFieldSelector
from fita.model.quantity import parse_quantity

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_VARIABLE = re.compile(r"\$(?:\$|\(([^()]*)\))")
_FIELDS: dict[str, Callable[[Pod, str], str]] = {
    "metadata.name": lambda pod, ip: pod.metadata.name,
    "metadata.namespace": lambda pod, ip: pod.metadata.namespace,
    "metadata.uid": lambda pod, ip: pod.metadata.uid,
    "spec.nodeName": lambda pod, ip: pod.spec.node_name,
    "spec.serviceAccountName": lambda pod, ip: pod.spec.service_account_name,
    "status.podIP": lambda pod, ip: ip,
    "status.podIPs": lambda pod, ip: ip,
    "status.hostIP": lambda pod, ip: ip,
    "status.hostIPs": lambda pod, ip: ip,
}

Data = Mapping[str, str]
Allocatable = Mapping[str, str | int | float]


class _ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] = {}


class EnvironmentReader:
    """Resolves the environment of one container; reads each ConfigMap and Secret once.

    `address_ip` is the device's address, `allocatable` what the node offers: the value of a limit that is not set.
    """

    def __init__(
        self,
        client: KubernetesClient,
        pod: Pod,
        container: Container,
        *,
        address_ip: str,
        allocatable: Allocatable,
    ) -> None:
        self._client = client
        self._pod = pod
        self._container = container
        self._ip = address_ip
        self._allocatable = allocatable
        self._read: dict[tuple[str, str], Data | None] = {}

    async def read(self) -> dict[str, str]:
        """The environment. Raises `PodFailureError`, and `KubeError` when the API server cannot be asked."""
        environment: dict[str, str] = {}
        for source in self._container.env_from:
            for resource, ref in ((CONFIG_MAPS, source.config_map_ref), (SECRETS, source.secret_ref)):
                if ref is not None:
                    data = await self._data(resource, ref.name, optional=ref.optional)
                    environment |= {source.prefix + key: _text(resource, ref.name, data, key) for key in data}
        for variable in self._container.env:
            value = await self._value(variable, environment)
            if value is not None:
                environment[variable.name] = value
        return environment

    async def _value(self, variable: EnvVar, environment: Mapping[str, str]) -> str | None:
        """The value of one variable; None for an optional one that is not there."""
        match variable.value_from:
            case None:
                return expand(variable.value, environment)
            case EnvVarSource(config_map_key_ref=KeySelector() as ref):
                return await self._key(CONFIG_MAPS, ref)
            case EnvVarSource(secret_key_ref=KeySelector() as ref):
                return await self._key(SECRETS, ref)
            case EnvVarSource(resource_field_ref=ResourceFieldSelector() as selector):
                return self._resource_field(variable.name, selector)
            case EnvVarSource(field_ref=selector) if selector is not None:
                return field_of(self._pod, selector.field_path, address_ip=self._ip, variable=variable.name)
            case _:
                raise _refused(f"the environment variable {variable.name} has a source that a device cannot use")

    async def _key(self, resource: Resource, ref: KeySelector) -> str | None:
        data = await self._data(resource, ref.name, optional=ref.optional)
        if ref.key in data:
            return _text(resource, ref.name, data, ref.key)
        if ref.optional:
            return None
        raise PodFailureError(config_failure(f'{resource.kind} "{ref.name}" has no key "{ref.key}"'))

    async def _data(self, resource: Resource, name: str, *, optional: bool) -> Data:
        key = (resource.kind, name)
        if key not in self._read:
            self._read[key] = await self._fetch(resource, name)
        found = self._read[key]
        if found is None and not optional:
            raise PodFailureError(config_failure(f'{resource.kind} "{name}" not found'))
        return found or {}

    async def _fetch(self, resource: Resource, name: str) -> Data | None:
        """What the object holds, None when there is none."""
        try:
            raw = await self._client.get(resource, name, namespace=self._pod.metadata.namespace)
        except NotFoundError:
            return None
        except ForbiddenError as error:
            raise PodFailureError(reference_failure(resource.kind, name, error)) from error
        return msgspec.convert(raw, _ConfigMap).data

    def _resource_field(self, variable: str, selector: ResourceFieldSelector) -> str:
        """A request or limit of the container, in units of the divisor, rounded up."""
        kind, _, name = selector.resource.partition(".")
        resources = self._container.resources
        chosen = {"limits": resources.limits, "requests": resources.requests}.get(kind)
        if chosen is None or name not in ("cpu", "memory", "ephemeral-storage"):
            raise _refused(
                f"the environment variable {variable} asks for {selector.resource}, which is no resource"
            )
        amount = parse_quantity(chosen.get(name, self._allocatable.get(name, 0) if kind == "limits" else 0))
        divisor = parse_quantity(selector.divisor or 1) or 1
        return str(int((amount / divisor).to_integral_value(ROUND_CEILING)))


def expand(text: str, environment: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced by what is known; unknown ones stay, ``$$`` is a dollar sign."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] is None else environment.get(match[1], match[0])

    return _VARIABLE.sub(value, text)


def field_of(pod: Pod, path: str, *, address_ip: str, variable: str) -> str:
    """The field of the pod at `path`, as the downward API names it. Raises `PodFailureError`."""
    if match := _SUBSCRIPT.fullmatch(path):
        source = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
        return source.get(match[2], "")
    if (read := _FIELDS.get(path)) is None:
        raise _refused(f"the environment variable {variable} asks for {path}, which is no field of a pod here")
    return read(pod, address_ip)


def _text(resource: Resource, name: str, data: Data, key: str) -> str:
    """The value of `key`: as it is in a ConfigMap, decoded in a Secret."""
    if resource != SECRETS:
        return data[key]
    try:
        return base64.b64decode(data[key]).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise PodFailureError(config_failure(f'the key "{key}" of Secret "{name}" holds no text')) from error


def _refused(message: str) -> PodFailureError:
    return PodFailureError(config_failure(message, retryable=False))
