"""OCI references: ``registry:5000/name:tag@sha256:...``.

A name without a registry means ``docker.io``, as everywhere in Kubernetes. The registry ``fita.local`` means the
local store of the machine that the gateway runs on: such a name is never looked up in a network.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from fita.oci.errors import InvalidReferenceError

LOCAL_REGISTRY = "fita.local"
DOCKER_HUB = "docker.io"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_REGISTRY = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[([0-9a-f:.]{{2,45}})\])(?::([0-9]{{1,5}}))?")
_MAX_HOST_CHARACTERS = 253
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_CHARACTERS = 1024


class Reference(msgspec.Struct, frozen=True):
    """Where an artifact is. With a `digest` the `tag` is only for people."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{'@' + self.digest if self.digest else ''}"

    @property
    def name(self) -> str:
        """``registry/repository``."""
        return f"{self.registry}/{self.repository}"

    @property
    def is_local(self) -> bool:
        """Whether it names the local store."""
        return self.registry == LOCAL_REGISTRY

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag."""
        return self.digest or self.tag


def parse_reference(text: str, *, default_registry: str = DOCKER_HUB) -> Reference:
    """`text` as a `Reference`; a name without tag and digest gets the tag ``latest``.

    Raises `InvalidReferenceError`.
    """
    rest, at, digest = text.partition("@")
    if len(text) > _MAX_CHARACTERS or (at and not _DIGEST.fullmatch(digest)):
        raise _invalid(text, "the digest must be sha256: and 64 lower-case hexadecimal digits")
    registry, rest = _split_registry(rest, default_registry)
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text, "a tag has up to 128 letters, digits, dots, dashes and underscores")
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _is_registry(registry) or not _REPOSITORY.fullmatch(repository):
        raise _invalid(text, "write it like registry:5000/name:tag; names are in lower case")
    return Reference(registry, repository, tag if tag or digest else "latest", digest)


def _split_registry(text: str, default_registry: str) -> tuple[str, str]:
    """The first part is a registry if it looks like a host: it has a dot or a port, or is ``localhost``."""
    first, slash, rest = text.partition("/")
    if not slash or not (first == "localhost" or any(mark in first for mark in ".:")):
        return default_registry, text
    return (DOCKER_HUB if first == "index.docker.io" else first.lower()), rest


def _is_registry(text: str) -> bool:
    """Whether `text` is a host name or an address, with or without a port."""
    match = _REGISTRY.fullmatch(text)
    if match is None or len(match[1]) > _MAX_HOST_CHARACTERS or int(match[3] or 0) > 65535:
        return False
    if match[2] is None:
        return True
    try:
        return ipaddress.ip_address(match[2]).version == 6
    except ValueError:
        return False


def _invalid(text: str, hint: str) -> InvalidReferenceError:
    return InvalidReferenceError(f"{text[:100]!r} is not an OCI reference", hint=hint)
