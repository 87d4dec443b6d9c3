"""Credentials for registries, as Docker's ``config.json`` and Kubernetes' image pull secrets hold them.

Programs that Docker would ask for a password (``credsStore``, ``credHelpers``) are never started.
Source: https://kubernetes.io/docs/concepts/containers/images/#config-json
"""

from __future__ import annotations

import base64
import binascii
import os
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from fita.base.errors import ConfigurationError
from fita.oci.reference import DOCKER_HUB, Reference


class Credentials(msgspec.Struct, frozen=True):
    """A user's name and password, or an identity token instead of both. Never shown."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"


class Keychain(msgspec.Struct, frozen=True):
    """Credentials by registry or by registry and leading path, the narrowest first."""

    entries: tuple[tuple[str, Credentials], ...] = ()

    def find(self, reference: Reference) -> Credentials | None:
        """The credentials of the narrowest entry that covers `reference`."""
        for pattern, credentials in self.entries:
            if _covers(pattern, reference):
                return credentials
        return None

    def then(self, other: Keychain) -> Keychain:
        """Both, where this one's entries are asked first."""
        return Keychain((*self.entries, *other.entries))


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _DockerConfig(msgspec.Struct):
    auths: dict[str, _Entry] = {}


def parse_docker_config(data: bytes, *, what: str = "the docker config") -> Keychain:
    """``{"auths": {"registry:5000": {"auth": "<base64 of user:password>"}}}`` as a `Keychain`.

    Raises `ConfigurationError`, which never quotes the content.
    """
    try:
        config = msgspec.json.decode(data, type=_DockerConfig)
        found = [(_pattern(name), _credentials(entry)) for name, entry in config.auths.items()]
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise ConfigurationError(
            f"{what} is not in Docker's form", hint='it looks like {"auths": {"registry": {"auth": "..."}}}'
        ) from error
    usable = [(name, credentials) for name, credentials in found if credentials != Credentials()]
    return Keychain(tuple(sorted(usable, key=lambda pair: -len(pair[0]))))


def docker_config_path() -> Path:
    """``$DOCKER_CONFIG/config.json``, by default in ``~/.docker``."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def read_docker_config(path: Path) -> Keychain:
    """The `Keychain` in the file `path`; an empty one when there is no such file. Raises `ConfigurationError`."""
    try:
        return parse_docker_config(path.read_bytes(), what=str(path))
    except FileNotFoundError:
        return Keychain()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", hint="check its owner") from error


def default_keychain() -> Keychain:
    """What the user of this machine has logged in to with skopeo or podman (containers-auth.json(5)) or Docker.

    Raises `ConfigurationError`.
    """
    if chosen := os.environ.get("REGISTRY_AUTH_FILE"):
        return read_docker_config(Path(chosen))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    session = Path(runtime) / "containers" if runtime else Path("/run/containers") / str(os.getuid())
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers"
    keychain = read_docker_config(session / "auth.json").then(read_docker_config(configuration / "auth.json"))
    return keychain.then(read_docker_config(docker_config_path()))


def _credentials(entry: _Entry) -> Credentials:
    username, password = entry.username, entry.password
    if entry.auth:
        decoded = base64.b64decode(entry.auth, validate=True).decode()
        username, _, password = decoded.rstrip("\0").partition(":")
    return Credentials(username, password, entry.identitytoken)


def _pattern(name: str) -> str:
    """``https://index.docker.io/v1/`` -> ``docker.io``; otherwise the name without scheme and API version."""
    rest = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = rest.partition("/")
    host = DOCKER_HUB if host in ("index.docker.io", "registry-1.docker.io") else host
    return host if path in ("", "v1", "v2") else f"{host}/{path}"


def _covers(pattern: str, reference: Reference) -> bool:
    host, _, path = pattern.partition("/")
    labels, wanted = reference.registry.split("."), host.split(".")
    if len(labels) != len(wanted) or not all(map(fnmatchcase, labels, wanted)):
        return False
    return not path or reference.repository == path or reference.repository.startswith(f"{path}/")
