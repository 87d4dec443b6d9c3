"""Where an API server is and how to get in: what a kubeconfig says, and all that the client needs of it."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fita.kube.credential import Credential, FixedCredential

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """How to reach one API server.

    - `server`: URL without a slash at its end.
    - `tls`: what to trust; None for plain HTTP.
    - `server_name`: the name its certificate must carry when that is not the URL's host, else "".
    - `credential`: who requests are made as. `headers`: whom they act for (impersonation).
    - `namespace`: the context's, for programs that work in one.
    - `proxy`: URL of an HTTP proxy, or "".
    """

    server: str
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    credential: Credential = field(default_factory=FixedCredential)
    headers: tuple[tuple[str, str], ...] = ()
    namespace: str = "default"
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """What makes the API server believable: `authority` (PEM; None: what this machine trusts), or anything."""

    authority: bytes | None = None
    insecure: bool = False

    def context(self, certificate: bytes = b"", key: bytes = b"") -> ssl.SSLContext:
        """A TLS context that shows the client `certificate` with `key` (PEM) where given. Raises `ValueError`."""
        context = self._context()
        # Python 3.13 began to demand extensions that the authorities of many existing clusters do not carry.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            _load_pair(context, certificate, key)
        return context

    def _context(self) -> ssl.SSLContext:
        if self.authority is None:
            context = ssl.create_default_context()
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return context
        try:
            return ssl.create_default_context(cadata=self.authority.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"the certificate authority is no PEM certificate: {_reason(error)}") from error


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Python reads a certificate only from a file: one that nobody else can read and that is gone at once."""

    def refuse_password() -> str:
        raise ValueError("the client key is protected by a password")

    with tempfile.NamedTemporaryFile(prefix="fita-", suffix=".pem") as file:  # mode 0600
        file.write(certificate.rstrip() + b"\n" + key)
        file.flush()
        try:
            context.load_cert_chain(file.name, password=refuse_password)
        except ssl.SSLError as error:
            raise ValueError(f"the client certificate and its key do not work: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)


def environment_proxy(server: str) -> str:
    """The proxy that HTTPS_PROXY and NO_PROXY choose for `server`, "" for none; loopback never has one."""
    url = urlsplit(server)
    host = url.hostname or ""
    if host in _LOOPBACK or proxy_bypass(host):
        return ""
    return getproxies().get(url.scheme, "")
