"""`fita up`: a Kubernetes of one's own and the gateway with it, in the foreground or in the background.

With a kubeconfig the cluster is somebody else's: nothing is started and nothing is applied to it. Whoever looks
after it applies `deploy/` once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from fita.app.detached import launch
from fita.app.gateway import AdminAccess, run_gateway
from fita.app.settings import GatewaySettings
from fita.app.state import GatewayState, read_state
from fita.base.errors import FitaError
from fita.localcluster.apply import apply_manifests
from fita.localcluster.build import ensure_built
from fita.localcluster.cluster import LocalCluster
from fita.localcluster.progress import ProgressListener, ignore_progress

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
    refuse_second(settings.data_dir)
    if settings.kubeconfig is not None:
        await run_gateway(settings, on_ready=on_ready)
        return
    binary = await ensure_built(on_progress=on_progress)
    async with LocalCluster(settings.data_dir, binary, port=api_port) as cluster:
        async with asyncio.TaskGroup() as group:
            group.create_task(cluster.run())
            await apply_manifests(cluster)
            admin = AdminAccess(kubeconfig=cluster.admin_kubeconfig, kubectl=cluster.kubectl)
            own = msgspec.structs.replace(settings, kubeconfig=cluster.gateway_kubeconfig)
            await run_gateway(own, on_ready=on_ready, admin=admin)


async def run_detached(
    settings: GatewaySettings, *, api_port: int = 0, on_progress: ProgressListener = ignore_progress
) -> GatewayState:
    """Start `run_up` in the background, return when its gateway is ready. It logs to ``<data_dir>/gateway.log``.

    What is compiled is compiled here, where its progress can be seen. When cancelled nothing is left running.
    Raises `FitaError`.
    """
    refuse_second(settings.data_dir)
    if settings.kubeconfig is None:
        await ensure_built(on_progress=on_progress)
    return await launch(settings, api_port=api_port)


def refuse_second(data_dir: Path) -> None:
    """Raise `FitaError` when a gateway runs on `data_dir` already."""
    state = read_state(data_dir)
    if state is not None:
        raise FitaError(
            f"process {state.pid} already runs a gateway on {data_dir}",
            hint="stop it with `fita down`, or choose another --data-dir",
        )
