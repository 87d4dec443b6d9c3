"""kubeconfig files with the certificates inside, so that one file can be copied and works.

Written as JSON, which every YAML reader takes. This module reads back only what it has written itself.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import msgspec

from fita.base.clock import Clock, utc_now
from fita.base.disk import write_private
from fita.localcluster.pki import Authority, Identity, pem_is_current

CLUSTER_NAME = "fita"


class _User(msgspec.Struct):
    user: dict[str, str]


class _Cluster(msgspec.Struct):
    cluster: dict[str, str]


class _Written(msgspec.Struct):
    clusters: Annotated[list[_Cluster], msgspec.Meta(min_length=1, max_length=1)]
    users: Annotated[list[_User], msgspec.Meta(min_length=1, max_length=1)]


def ensure_kubeconfig(
    path: Path, identity: Identity, *, authority: Authority, server: str, clock: Clock = utc_now
) -> None:
    """Write a kubeconfig that logs in to `server` (a URL) as `identity`, unless `path` holds one that will do."""
    if not _is_current(path, authority, server, clock):
        write_private(path, kubeconfig(identity, authority=authority, server=server))


def kubeconfig(identity: Identity, *, authority: Authority, server: str) -> bytes:
    """A kubeconfig with a new client certificate for `identity`."""
    pair = authority.client(identity)
    user = {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": CLUSTER_NAME,
                "cluster": {"server": server, "certificate-authority-data": _base64(authority.pem)},
            }
        ],
        "users": [{"name": identity.user, "user": user}],
        "contexts": [{"name": CLUSTER_NAME, "context": {"cluster": CLUSTER_NAME, "user": identity.user}}],
        "current-context": CLUSTER_NAME,
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def client_certificate(path: Path) -> bytes:
    """The client certificate (PEM) in a kubeconfig of our own. Raises `ValueError` when there is none."""
    return _certificate(_read(path))


def _is_current(path: Path, authority: Authority, server: str, clock: Clock) -> bool:
    try:
        written = _read(path)
        certificate = _certificate(written)
    except (FileNotFoundError, ValueError):
        return False
    same_server = written.clusters[0].cluster == {
        "server": server,
        "certificate-authority-data": _base64(authority.pem),
    }
    return same_server and pem_is_current(certificate, authority, clock=clock)


def _read(path: Path) -> _Written:
    return msgspec.json.decode(path.read_bytes(), type=_Written)


def _certificate(written: _Written) -> bytes:
    return base64.b64decode(written.users[0].user.get("client-certificate-data", ""), validate=True)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
