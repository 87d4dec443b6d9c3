"""A gateway is ready when it has read Kubernetes and follows it still."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
import structlog

from fakes.memory_cluster import MemoryCluster
from fita.app.gateway import AWAY_LIMIT_S, Gateway
from fita.app.settings import GatewaySettings
from fita.oci.puller import ArtifactSource


@pytest.mark.looptime
async def test_not_ready_when_kubernetes_stays_away(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    settings = GatewaySettings(data_dir=tmp_path, gateway_name="gw")
    artifacts = ArtifactSource(store=tmp_path / "store", cache=tmp_path / "cache")
    with structlog.testing.capture_logs():
        async with asyncio.TaskGroup() as group:
            gateway = Gateway(settings, cluster.client(), artifacts)
            assert gateway.kubelet.away_s == math.inf
            assert "have not been read" in (gateway.not_ready() or "")
            tasks = [group.create_task(gateway.enrolment.watch()), group.create_task(gateway.kubelet.run())]
            await gateway.enrolment.wait_ready()
            await gateway.kubelet.wait_ready()
            await asyncio.sleep(0.1)
            assert gateway.not_ready() is None

            cluster.down = True
            await asyncio.sleep(AWAY_LIMIT_S - 1)
            assert gateway.not_ready() is None, "it may be back at once"
            assert gateway.enrolment.away_s > 0
            await asyncio.sleep(2)
            assert "Kubernetes has not answered for 1" in (gateway.not_ready() or "")

            cluster.down = False
            await asyncio.sleep(60)  # longer than the informers' longest delay
            assert gateway.not_ready() is None
            assert gateway.enrolment.away_s == gateway.kubelet.away_s == 0
            for task in tasks:
                task.cancel()
