"""`fita up`: a Kubernetes of one's own and the gateway with it.

With a kubeconfig the cluster is somebody else's: nothing is started and nothing is applied to it. Whoever looks
after it applies `deploy/` once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from fita.app.gateway import AdminAccess, serve_gateway
from fita.app.settings import GatewaySettings
from fita.app.state import GatewayState, gateway_lock
from fita.localcluster.apply import apply_manifests
from fita.localcluster.build.compilation import ensure_built
from fita.localcluster.build.progress import ProgressListener, ignore_progress
from fita.localcluster.cluster import LocalCluster

OnReady = Callable[[GatewayState], None]


async def run_up(
    settings: GatewaySettings,
    *,
    api_port: int = 0,
    on_progress: ProgressListener = ignore_progress,
    on_ready: OnReady | None = None,
) -> None:
    """Run the local cluster and the gateway until cancelled; with `settings.kubeconfig` the gateway alone.

    `api_port` 0 means the last one used, or a free one. `on_ready` is called once, when devices that register
    become nodes. Raises `FitaError`.
    """
    async with gateway_lock(settings.data_dir):
        if settings.kubeconfig is not None:
            await serve_gateway(settings, on_ready=on_ready)
            return
        binary = await ensure_built(on_progress=on_progress)
        async with LocalCluster(settings.data_dir, binary, port=api_port) as cluster:
            async with asyncio.TaskGroup() as group:
                group.create_task(cluster.run())
                await apply_manifests(cluster)
                admin = AdminAccess(kubeconfig=cluster.admin_kubeconfig, kubectl=cluster.kubectl)
                own = msgspec.structs.replace(settings, kubeconfig=cluster.gateway_kubeconfig)
                await serve_gateway(own, on_ready=on_ready, admin=admin)
