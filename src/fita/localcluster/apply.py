"""Applies FITA's own manifests, `deploy/`, to the local cluster with the kubectl that comes with it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fita.base.resource import resource_folder
from fita.localcluster.cluster import LocalCluster
from fita.localcluster.command import CommandFailedError, run_command
from fita.localcluster.errors import ManifestError

FIELD_MANAGER = "fita-up"
DEADLINE_S = 60.0
KIND_PREFIX = "customresourcedefinition.apiextensions.k8s.io/"


async def apply_manifests(cluster: LocalCluster, folder: Path | None = None) -> list[str]:
    """Apply every manifest of `folder` (default: `deploy/`) as the administrator; the names of all objects.

    Returns when the kinds they define can be used and pods can be made. Fields that somebody else has set are
    set back. Raises `ManifestError`.
    """
    manifests = folder or resource_folder("deploy")
    try:
        async with asyncio.timeout(DEADLINE_S):
            names = await _apply(cluster, manifests)
            await _kubectl(cluster, "wait", "--for=create", "serviceaccount/default", "--namespace=default")
            return names
    except CommandFailedError as error:
        reason = f"{manifests} cannot be applied: {error}"
        raise ManifestError(reason, hint=f"install FITA again, or look at {cluster.folder.log}") from error
    except TimeoutError:
        reason = f"{manifests} was not applied within {DEADLINE_S:g} s"
        raise ManifestError(reason, hint=f"look at {cluster.folder.log}") from None


async def _apply(cluster: LocalCluster, folder: Path) -> list[str]:
    names = await _kubectl(
        cluster,
        "apply",
        "--server-side",
        "--force-conflicts",
        f"--field-manager={FIELD_MANAGER}",
        f"--filename={folder}",
        "--output=name",
    )
    kinds = [name for name in names if name.startswith(KIND_PREFIX)]
    if kinds:
        await _kubectl(cluster, "wait", "--for=condition=Established", *kinds)
    return names


async def _kubectl(cluster: LocalCluster, *arguments: str) -> list[str]:
    """Run kubectl as the administrator, whatever the user's own kubectl settings are; the lines it printed."""
    options = [f"--kubeconfig={cluster.admin_kubeconfig}", f"--cache-dir={cluster.folder.path / 'kubectl-cache'}"]
    environment = {**os.environ, "KUBECTL_KUBERC": "false"}
    output = await run_command([str(cluster.kubectl), *options, *arguments], environment=environment)
    return output.split()
