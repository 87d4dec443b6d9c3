"""The image of a container: when it is pulled, with whose credentials, and how its digest is written.

Source: https://kubernetes.io/docs/concepts/containers/images/
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from fita.base.errors import ConfigurationError
from fita.kube.client import KubernetesClient
from fita.kube.errors import ForbiddenError, NotFoundError
from fita.kube.resource import SECRETS
from fita.model.kubernetes import Container, Pod
from fita.oci.errors import InvalidReferenceError
from fita.oci.puller import POLICY_ALWAYS, POLICY_IF_NOT_PRESENT
from fita.oci.reference import parse_reference
from fita.oci.registry.credential import Keychain, parse_docker_config

_DOCKER_CONFIG_JSON = ".dockerconfigjson"
_DOCKER_CONFIG_LEGACY = ".dockercfg"


class _Secret(msgspec.Struct, frozen=True):
    data: dict[str, str] = {}


def pull_policy(container: Container) -> str:
    """The container's pull policy; unless it says: `Always` for the tag ``latest``, else `IfNotPresent`."""
    if container.image_pull_policy:
        return container.image_pull_policy
    try:
        reference = parse_reference(container.image)
    except InvalidReferenceError:
        return POLICY_IF_NOT_PRESENT
    return POLICY_ALWAYS if reference.tag == "latest" and not reference.digest else POLICY_IF_NOT_PRESENT


def image_id(image: str, digest: str) -> str:
    """What a status calls ``imageID``: the name without tag, and the digest that it stood for."""
    return f"{parse_reference(image).name}@{digest}"


def digest_of_image_id(text: str) -> str:
    """The digest in an ``imageID``, empty when there is none."""
    return text.partition("@")[2]


async def read_credentials(client: KubernetesClient, pod: Pod) -> tuple[Keychain, list[str]]:
    """The credentials in the pod's imagePullSecrets, and what is wrong with those that cannot be used.

    As in a kubelet, a secret that is missing does not keep the image from being pulled without it. Raises
    `KubeError` when the API server cannot be asked.
    """
    keychain, problems = Keychain(), []
    for reference in pod.spec.image_pull_secrets:
        try:
            secret = await client.get(SECRETS, reference.name, namespace=pod.metadata.namespace)
            keychain = keychain.then(_keychain(secret, what=f'imagePullSecret "{reference.name}"'))
        except NotFoundError:
            problems.append(f'imagePullSecret "{reference.name}" not found')
        except (ForbiddenError, ConfigurationError) as error:
            problems.append(f'imagePullSecret "{reference.name}": {error.message}')
    return keychain, problems


def _keychain(secret: object, *, what: str) -> Keychain:
    data = msgspec.convert(secret, _Secret).data
    try:
        if _DOCKER_CONFIG_JSON in data:
            return parse_docker_config(base64.b64decode(data[_DOCKER_CONFIG_JSON]), what=what)
        if _DOCKER_CONFIG_LEGACY in data:
            return parse_docker_config(b'{"auths":%b}' % base64.b64decode(data[_DOCKER_CONFIG_LEGACY]), what=what)
    except binascii.Error as error:
        raise ConfigurationError(f"{what} is not base64") from error
    raise ConfigurationError(
        f"{what} holds no credentials for registries", hint="make it by `kubectl create secret docker-registry`"
    )
