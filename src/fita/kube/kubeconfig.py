"""Reading kubeconfigs, and the service account of a pod.

Reads what kubectl reads: several files in $KUBECONFIG, inline data or files, certificates, tokens, login programs.
Writes none. What is wrong in a file is told with the file's name and the place in it.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from fita.kube.access import ClusterAccess, Trust, environment_proxy
from fita.kube.credential import (
    Credential,
    CredentialPlugin,
    FixedCredential,
    Login,
    RenewedCredential,
    token_file,
)
from fita.kube.errors import KubeconfigError
from fita.kube.kubeconfig_file import (
    NO_ACCESS_HINT,
    ChosenContext,
    ClusterEntry,
    ExecEntry,
    UserEntry,
    choose_context,
)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token, namespace and the cluster's authority."""

_PLUGIN_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


def load_kubeconfig(
    path: Path | None = None,
    *,
    context: str = "",
    environment: Mapping[str, str] | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> ClusterAccess:
    """How to reach the cluster of `context` (default: the current one) of the kubeconfig at `path`.

    None takes, in this order, the files of $KUBECONFIG, ~/.kube/config, and the service account of the pod this
    runs in. Raises `KubeconfigError`.
    """
    variables = os.environ if environment is None else environment
    if path is not None:
        return _Reader(choose_context([path], context)).access()
    if variables.get("KUBECONFIG"):
        # As kubectl does: files that do not exist are passed over, and the first that says something wins.
        paths = [Path(part) for part in variables["KUBECONFIG"].split(os.pathsep) if part]
        if not (
            existing := [part for part in paths if os.path.exists(part)]
        ):  # Path.exists raises for some errors
            listed = variables["KUBECONFIG"]
            raise KubeconfigError(f"KUBECONFIG names no file that exists: {listed}", hint=NO_ACCESS_HINT)
        return _Reader(choose_context(existing, context)).access()
    home = Path(variables.get("HOME") or os.path.expanduser("~")) / ".kube" / "config"
    if os.path.exists(home):
        return _Reader(choose_context([home], context)).access()
    if variables.get("KUBERNETES_SERVICE_HOST"):
        return service_account_access(variables, service_account)
    raise KubeconfigError("no Kubernetes cluster is named", hint=NO_ACCESS_HINT)


def service_account_access(environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> ClusterAccess:
    """How a pod reaches its own cluster; the token is read again when the kubelet has replaced it."""
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    authority, namespace = folder / "ca.crt", folder / "namespace"
    try:
        tls = Trust(authority.read_bytes()).context()
        home = namespace.read_text(encoding="ascii").strip() if namespace.exists() else "default"
    except (OSError, ValueError) as error:
        raise KubeconfigError(
            f"the pod's service account cannot be used: {error}",
            path=authority,
            hint="the pod needs automountServiceAccountToken: true",
        ) from error
    return ClusterAccess(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        tls=tls,
        credential=token_file(folder / "token"),
        namespace=home,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns what a context chose into access."""

    chosen: ChosenContext

    @property
    def cluster(self) -> ClusterEntry:
        return self.chosen.cluster.cluster

    @property
    def user(self) -> UserEntry:
        return self.chosen.user.user or UserEntry()

    def access(self) -> ClusterAccess:
        server = self.cluster.server.rstrip("/")
        if not (scheme := _scheme(server)):
            raise self._cluster_error(f"its server {server!r} is no URL", hint="write https://<host>:<port>")
        trust = self._trust()
        try:
            tls = trust.context() if scheme == "https" else None
        except ValueError as error:
            raise self._cluster_error(str(error)) from error
        return ClusterAccess(
            server=server,
            tls=tls,
            server_name=self.cluster.tls_server_name,
            credential=self._credential(trust),
            headers=tuple(self._impersonation()),
            namespace=self.chosen.namespace,
            proxy=self.cluster.proxy_url or environment_proxy(server),
        )

    def _trust(self) -> Trust:
        cluster = self.cluster
        authority = _data_or_file(
            self.chosen.cluster_path,
            "certificate-authority",
            data=cluster.certificate_authority_data,
            file=cluster.certificate_authority,
        )
        if cluster.insecure_skip_tls_verify and authority is not None:
            raise self._cluster_error(
                "it has a certificate authority and insecure-skip-tls-verify", hint="remove one of the two"
            )
        return Trust(authority, insecure=cluster.insecure_skip_tls_verify)

    def _credential(self, trust: Trust) -> Credential:
        user = self.user
        if user.auth_provider is not None:
            raise self._user_error(
                "it logs in by auth-provider, which Kubernetes removed in 1.26",
                hint="let the cloud's tool write the kubeconfig again, with a login program",
            )
        if user.exec_ is not None:
            return self._plugin(user.exec_, trust)
        has_certificate = bool(user.client_certificate or user.client_certificate_data)
        tls = self._pair(trust) if has_certificate else None
        if user.token_file:
            return token_file(self.chosen.user_path.parent / user.token_file, tls=tls)
        if user.client_certificate and not user.token:
            return self._certificate_files(trust)
        return FixedCredential(Login(_authorization(user), tls))

    def _certificate_files(self, trust: Trust) -> Credential:
        """Files may be replaced by what renews them: they are read again when the server refuses the old ones."""

        async def renew() -> Login:
            return Login("", self._pair(trust))

        return RenewedCredential(renew)

    def _pair(self, trust: Trust) -> ssl.SSLContext:
        user = self.user
        certificate = _data_or_file(
            self.chosen.user_path,
            "client-certificate",
            data=user.client_certificate_data,
            file=user.client_certificate,
        )
        key = _data_or_file(self.chosen.user_path, "client-key", data=user.client_key_data, file=user.client_key)
        if certificate is None or key is None:
            raise self._user_error("it has a client certificate and no key", hint="add client-key-data")
        try:
            return trust.context(certificate, key)
        except ValueError as error:
            raise self._user_error(str(error)) from error

    def _plugin(self, entry: ExecEntry, trust: Trust) -> Credential:
        if entry.api_version not in _PLUGIN_VERSIONS:
            raise self._user_error(
                f"its login program speaks {entry.api_version!r}", hint=f"known: {', '.join(_PLUGIN_VERSIONS)}"
            )
        if entry.interactive_mode == "Always":
            raise self._user_error(
                "its login program always asks a person", hint="use a user whose interactiveMode is not Always"
            )
        plugin = CredentialPlugin(
            entry.api_version,
            entry.command,
            tuple(entry.args or ()),
            {variable.name: variable.value for variable in entry.env or ()},
            entry.install_hint.strip(),
            self.chosen.user_path,
            self._cluster_info(trust) if entry.provide_cluster_info else None,
        )

        async def renew() -> Login:
            try:
                return await plugin.run(trust.context)
            except ValueError as error:
                raise self._user_error(f"its login program gives what cannot be used: {error}") from error

        return RenewedCredential(renew)

    def _cluster_info(self, trust: Trust) -> dict[str, object]:
        info: dict[str, object] = {"server": self.cluster.server}
        if trust.authority is not None:
            info["certificate-authority-data"] = base64.b64encode(trust.authority).decode("ascii")
        if trust.insecure:
            info["insecure-skip-tls-verify"] = True
        if self.cluster.tls_server_name:
            info["tls-server-name"] = self.cluster.tls_server_name
        return info

    def _impersonation(self) -> list[tuple[str, str]]:
        user = self.user
        headers = [("Impersonate-User", user.as_)] if user.as_ else []
        headers += [("Impersonate-Uid", user.as_uid)] if user.as_uid else []
        headers += [("Impersonate-Group", group) for group in user.as_groups or ()]
        for key, values in (user.as_user_extra or {}).items():
            headers += [(f"Impersonate-Extra-{key}", value) for value in values]
        return headers

    def _cluster_error(self, problem: str, *, hint: str = "") -> KubeconfigError:
        return KubeconfigError(
            f"cluster {self.chosen.cluster.name!r}: {problem}", path=self.chosen.cluster_path, hint=hint
        )

    def _user_error(self, problem: str, *, hint: str = "") -> KubeconfigError:
        return KubeconfigError(f"user {self.chosen.user.name!r}: {problem}", path=self.chosen.user_path, hint=hint)


def _scheme(server: str) -> str:
    """``http`` or ``https`` for a URL that can be used, else ""."""
    try:
        url = URL(server)
    except ValueError:
        return ""
    return url.scheme if url.scheme in ("http", "https") and url.host else ""


def _authorization(user: UserEntry) -> str:
    """The header for a token or a password; a token goes first."""
    if user.token:
        return f"Bearer {user.token}"
    if user.username:
        pair = f"{user.username}:{user.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"
    return ""


def _data_or_file(kubeconfig: Path, what: str, *, data: str, file: str) -> bytes | None:
    """PEM from inline base64, which goes first, or from a file beside the kubeconfig; None without either."""
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise KubeconfigError(f"{what}-data is no base64: {error}", path=kubeconfig) from error
    if not file:
        return None
    try:
        return (kubeconfig.parent / file).read_bytes()
    except OSError as error:
        raise KubeconfigError(
            f"{what} names {file}, which cannot be read: {error.strerror}",
            path=kubeconfig,
            hint="let the tool that made the kubeconfig write it again",
        ) from error
