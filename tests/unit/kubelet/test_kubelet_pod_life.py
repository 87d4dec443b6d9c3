"""A pod's life on a device: from bound to Running to gone, and what may go wrong on the way."""

from __future__ import annotations

import asyncio
import json

import pytest

from fakes.device_runtime import profile_of
from fakes.kubelet_world import IMAGE, world
from fita.kube.resource import LEASES, PODS
from fita.model.runtime import DeployError, DeployReason

pytestmark = pytest.mark.looptime


async def test_a_device_becomes_a_node_and_a_pod_runs_on_it() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.node)
        assert here.condition(here.node())["status"] == "True"
        here.add_pod()
        await here.until(here.is_ready)
        pod, service = here.pod(), here.runtime.service("lamp1", here.uid())
        assert pod is not None
        assert service is not None
        status = pod["status"]
        assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.0.0.7", "10.0.0.7")
        container = here.container()
        assert container["imageID"] == f"fita.local/average@{service.digest}"
        assert container["containerID"] == "fita://lamp1/1000"
        assert container["state"]["running"]["startedAt"]
        annotations = pod["metadata"]["annotations"]
        assert annotations["embserve.fhp.pt/nodeId"] == "lamp1"
        assert json.loads(annotations["embserve.fhp.pt/serviceMetadata"])[0]["id"] == 1000
        await here.until(lambda: {"Pulled", "Started"} <= here.reasons())
        assert here.metric("fita_kubelet_pods_running") == 1
        assert here.kubelet.workload(service.workload) == ("default", "a", "gw-lamp1")
        lease = await here.until(lambda: here.cluster.get(LEASES, "gw-lamp1", "kube-node-lease"))
        assert lease["metadata"]["ownerReferences"][0]["uid"] == here.node()["metadata"]["uid"]


async def test_a_pod_takes_two_writes_and_then_none() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        await asyncio.sleep(300)
        assert here.writes("/pods/") == 2


async def test_a_deleted_pod_leaves_the_device_and_then_the_cluster() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        uid = here.uid()
        here.cluster.delete(PODS, "a", "default", grace_s=30)
        await here.until(lambda: here.pod() is None, within_s=1)
        assert here.runtime.service("lamp1", uid) is None
        assert here.reasons() >= {"Killing"}


async def test_a_lost_device_keeps_its_pods_unready_and_comes_back_as_it_was() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.runtime.lose("lamp1", "its registration expired")
        await here.until(lambda: not here.is_ready(), within_s=1)
        ready = here.condition(here.node())
        assert (ready["status"], ready["reason"]) == ("Unknown", "DeviceLost")
        assert here.condition(here.pod())["reason"] == "DeviceLost"
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.is_ready, within_s=1)
        assert here.condition(here.node())["status"] == "True"
        assert len(here.runtime.deployed) == 1


async def test_a_service_that_does_not_start_is_a_crash_loop() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        device.errors = [DeployError(DeployReason.START_FAILED, "setup: no such sensor", retryable=True)] * 2
        here.add_pod()
        await here.until(lambda: here.waiting() == "CrashLoopBackOff")
        last = here.container()["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (128, "StartError")
        assert "no such sensor" in last["message"]
        assert here.container()["restartCount"] == 0
        await here.until(here.is_ready, within_s=60)
        assert here.container()["restartCount"] == 2
        assert IMAGE in here.container()["image"]
