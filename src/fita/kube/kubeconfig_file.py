"""What stands in kubeconfig files: several count as one, and a context chooses a cluster and a user.

Kubernetes' own names and rules. What the entries are good for is `fita.kube.kubeconfig`'s business.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ and
https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from fita.kube.errors import KubeconfigError

NO_ACCESS_HINT = "start a local one with `fita up`, or name a kubeconfig with --kubeconfig or KUBECONFIG"


class ClusterEntry(msgspec.Struct, frozen=True, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class EnvironmentVariable(msgspec.Struct, frozen=True):
    name: str
    value: str = ""


class ExecEntry(msgspec.Struct, frozen=True, rename="camel"):
    command: str
    api_version: str
    args: list[str] | None = None
    env: list[EnvironmentVariable] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class UserEntry(msgspec.Struct, frozen=True, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    exec_: ExecEntry | None = msgspec.field(default=None, name="exec")
    auth_provider: dict[str, Any] | None = None
    as_: str = msgspec.field(default="", name="as")
    as_uid: str = ""
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str]] | None = None


class ContextEntry(msgspec.Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: ClusterEntry = ClusterEntry()


class NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: UserEntry | None = None


class NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: ContextEntry = ContextEntry()


class Kubeconfig(msgspec.Struct, frozen=True, rename="kebab"):
    """One file. kubectl writes ``null`` for empty lists."""

    clusters: list[NamedCluster] | None = None
    users: list[NamedUser] | None = None
    contexts: list[NamedContext] | None = None
    current_context: str = ""


_E = TypeVar("_E", NamedCluster, NamedUser, NamedContext)


@dataclass(frozen=True, slots=True)
class ChosenContext:
    """A cluster and a user, each with the file it stands in: names of files in it are relative to that file."""

    cluster_path: Path
    cluster: NamedCluster
    user_path: Path
    user: NamedUser
    namespace: str


def choose_context(paths: list[Path], name: str = "") -> ChosenContext:
    """What the context `name`, by default the current one, of the files at `paths` says. Raises `KubeconfigError`.

    Of several entries of one name the first counts, as kubectl has it.
    """
    files = [(path, _read(path)) for path in paths]
    chosen = name or next((file.current_context for _, file in files if file.current_context), "")
    if not chosen:
        raise KubeconfigError(
            "there is no current-context", path=paths[0], hint="`kubectl config use-context` sets it"
        )
    path, named = _find("context", chosen, ((path, file.contexts) for path, file in files), paths[0])
    context = named.context
    if not context.cluster:
        raise KubeconfigError(f"the context {chosen!r} names no cluster", path=path)
    clusters = ((path, file.clusters) for path, file in files)
    cluster_path, cluster = _find("cluster", context.cluster, clusters, paths[0])
    user_path, user = path, NamedUser("")
    if context.user:
        user_path, user = _find("user", context.user, ((path, file.users) for path, file in files), paths[0])
    return ChosenContext(cluster_path, cluster, user_path, user, context.namespace or "default")


def _find(what: str, name: str, lists: Iterable[tuple[Path, list[_E] | None]], told: Path) -> tuple[Path, _E]:
    entries = [(path, entry) for path, listed in lists for entry in listed or ()]
    for path, entry in entries:
        if entry.name == name:
            return path, entry
    known = ", ".join(sorted({entry.name for _, entry in entries})) or "none"
    hint = f"known: {known}; `kubectl config view` shows all"
    raise KubeconfigError(f"there is no {what} {name!r}", path=told, hint=hint)


def _read(path: Path) -> Kubeconfig:
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise KubeconfigError(f"cannot be read: {error.strerror}", path=path, hint=NO_ACCESS_HINT) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place is not None else ""
        raise KubeconfigError(f"is no YAML{where}: {getattr(error, 'problem', error)}", path=path) from error
    if content is None:
        return Kubeconfig()
    if not isinstance(content, dict) or content.get("kind", "Config") != "Config":
        raise KubeconfigError("is no kubeconfig", path=path, hint="its kind must be Config")
    try:
        return msgspec.convert(content, type=Kubeconfig)
    except msgspec.ValidationError as error:
        raise KubeconfigError(
            f"is no kubeconfig: {error}", path=path, hint="values that must be text may need quotes"
        ) from error
