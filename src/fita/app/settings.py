"""What can be set about a gateway, with unit, default and reason."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import msgspec

from fita.base.errors import ConfigurationError
from fita.oci.errors import InvalidReferenceError
from fita.oci.reference import parse_reference

COAP_PORT = 5683
"""The port of CoAP without security (RFC 7252 section 6.1)."""
HTTP_PORT = 8683


def default_data_dir() -> Path:
    """``$FITA_DATA_DIR``, else ``$XDG_DATA_HOME/fita``, else ``~/.local/share/fita``."""
    if chosen := os.environ.get("FITA_DATA_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "fita"


def default_gateway_name() -> str:
    """The host's short name: FITA names its nodes ``<gateway host>-<device endpoint>``."""
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-")
    return name or "gateway"


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one gateway.

    - `data_dir`: folder for the artifact cache and the gateway's state file.
    - `kubeconfig`: how to reach Kubernetes; None: ``$KUBECONFIG``, ``~/.kube/config`` or the pod's account.
    - `gateway_name`: first part of every node's name.
    - `coap_host`, `coap_port`: where devices register. Default: all interfaces, because devices are elsewhere.
    - `http_host`, `http_port`: outputs and metrics. Default: loopback, because it asks for no credentials.
    - `open_enrolment`: accept every endpoint, not only those with a `Device` resource.
    - `plain_http`: registries (``host`` or ``host:port``) without TLS, besides those on this machine.
    """

    data_dir: Path
    kubeconfig: Path | None = None
    gateway_name: str = ""
    coap_host: str = "0.0.0.0"
    coap_port: int = COAP_PORT
    http_host: str = "127.0.0.1"
    http_port: int = HTTP_PORT
    open_enrolment: bool = False
    plain_http: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gateway_name and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?", self.gateway_name):
            raise ConfigurationError(
                f"{self.gateway_name!r} cannot be the first part of a node's name",
                hint="use at most 42 lower-case letters, digits and hyphens",
            )

        for registry in self.plain_http:
            if not _is_registry(registry):
                raise ConfigurationError(
                    f"{registry!r} is no registry", hint="write its host or host:port alone, as in an image's name"
                )

    @property
    def name(self) -> str:
        return self.gateway_name or default_gateway_name()


def _is_registry(text: str) -> bool:
    """Whether an image's name may begin with `text` as its registry."""
    try:
        return parse_reference(f"{text}/name").registry == text.lower()
    except InvalidReferenceError:
        return False
