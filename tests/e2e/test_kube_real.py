"""The Kubernetes client, informer and event recorder against a real Kubernetes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import fita.kube.event as event_module
from fakes.api_contract import CONTRACT, Test, pod
from fakes.api_server import NAMESPACES
from fita.kube.client import KubernetesClient
from fita.kube.errors import AlreadyExistsError, ForbiddenError, GoneError, InvalidError, KubeError
from fita.kube.event import EventRecorder, reference
from fita.kube.informer import Informer
from fita.kube.kubeconfig import load_kubeconfig
from fita.kube.resource import NODES, PODS, Resource
from fita.localcluster.build.binary import ControlPlaneBinary
from fita.localcluster.cluster import LocalCluster
from fita.model.kubernetes import ObjectMeta, Pod

if TYPE_CHECKING:
    from conftest import RunningCluster

pytestmark = pytest.mark.e2e

SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
_numbers = count(1)


@pytest.fixture
async def client(cluster: RunningCluster) -> AsyncIterator[KubernetesClient]:
    async with asyncio.timeout(100), KubernetesClient(load_kubeconfig(cluster.admin_kubeconfig)) as opened:
        yield opened


@pytest.fixture
async def namespace(client: KubernetesClient) -> AsyncIterator[str]:
    name = f"kube-{next(_numbers)}"
    await make_namespace(client, name)
    yield name
    await client.delete(NAMESPACES, name)


async def make_namespace(client: KubernetesClient, name: str) -> None:
    """A namespace in which pods can be made."""
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    with suppress(AlreadyExistsError):  # a controller is about to make it, and pods are refused until then
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace=name)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def informing(informer: Informer[Pod]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(informer.run())
        await informer.wait_synced()
        yield
        task.cancel()


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__)
async def test_the_real_one_keeps_the_contract(test: Test, client: KubernetesClient, namespace: str) -> None:
    await test(client, namespace)


async def test_says_its_version(cluster: RunningCluster, client: KubernetesClient) -> None:
    assert await client.version() == cluster.kubernetes_version


async def test_what_is_invalid_is_named(client: KubernetesClient, namespace: str) -> None:
    with pytest.raises(InvalidError, match=r"spec\.containers"):
        await client.create(PODS, {"metadata": {"name": "a"}, "spec": {"containers": []}}, namespace=namespace)


async def test_who_has_no_rights_is_refused(cluster: RunningCluster, namespace: str) -> None:
    async with KubernetesClient(load_kubeconfig(cluster.gateway_kubeconfig)) as gateway:
        with pytest.raises(ForbiddenError, match="fita:gateway") as caught:
            await gateway.delete(NAMESPACES, namespace)
        assert "kubectl auth can-i" in caught.value.hint


async def test_an_informer_follows_many_changes(client: KubernetesClient, namespace: str) -> None:
    informer = Informer(client, PODS, Pod, namespace=namespace)
    seen: list[tuple[str, bool, bool]] = []
    informer.add_listener(lambda key, old, new: seen.append((key, old is None, new is None)))
    await client.create(PODS, pod("first"), namespace=namespace)
    async with informing(informer):
        assert seen == [(f"{namespace}/first", True, False)]
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(client.create(PODS, pod(f"p{number}"), namespace=namespace))
        await until(lambda: len(informer.items()) == 101)
        assert informer.get(f"{namespace}/p7").spec.containers[0].image == "fita.local/x:1"
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(client.delete(PODS, f"p{number}", namespace=namespace, grace_period_seconds=0))
        await until(lambda: len(informer.items()) == 1)
    assert len([key for key, _, gone in seen if gone]) == 100


async def test_an_informer_survives_the_death_of_the_server(
    control_plane: ControlPlaneBinary, tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(100),
        LocalCluster(tmp_path, control_plane) as cluster,
        KubernetesClient(load_kubeconfig(cluster.admin_kubeconfig)) as client,
        asyncio.TaskGroup() as group,
    ):
        running = group.create_task(cluster.run())
        await make_namespace(client, "farm")
        await client.create(PODS, pod("a"), namespace="farm")
        informer = Informer(client, PODS, Pod, namespace="farm")
        async with informing(informer):
            assert cluster.control_plane_pid is not None
            os.kill(cluster.control_plane_pid, signal.SIGKILL)
            await until(lambda: not informer.connected)
            assert list(informer.items()) == ["farm/a"]
            await create_at_last(client, "farm")
            await until(lambda: len(informer.items()) == 2)
            assert informer.connected
        watch = client.watch(PODS, namespace="farm", resource_version="1", timeout_s=5)
        with pytest.raises(GoneError):
            [event async for event in watch]
        running.cancel()


async def create_at_last(client: KubernetesClient, namespace: str) -> None:
    """Create pod b as soon as the server is there again and lets pods in."""
    while True:
        try:
            await client.create(PODS, pod("b"), namespace=namespace)
            return
        except KubeError:
            await asyncio.sleep(0.1)


async def test_kubectl_shows_the_events(
    cluster: RunningCluster, client: KubernetesClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_module, "REPEAT_DELAY_S", 0.2)
    created = await client.create(PODS, pod("lamp", node="nowhere"), namespace=namespace)
    node = await client.create(NODES, {"metadata": {"name": f"n-{namespace}"}})
    recorder = EventRecorder(client, component="fita", host="gw")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.run())
        about = reference(PODS, metadata(created), field_path="spec.containers{main}")
        recorder.record(about, type_="Warning", reason="OutOfMemory", message="needs 90 kB, 40 kB are free")
        await until(lambda: not recorder.pending)
        for _ in range(4):
            recorder.record(about, type_="Warning", reason="OutOfMemory", message="needs 90 kB, 40 kB are free")
        recorder.record(reference(NODES, metadata(node)), reason="NodeReady", message="the device is back")
        await until(lambda: not recorder.pending)
        task.cancel()
    assert recorder.dropped == 0
    described = cluster.run("describe", "pod", "lamp", f"--namespace={namespace}").stdout
    line = next(line for line in described.splitlines() if "OutOfMemory" in line)
    assert line.split()[:2] == ["Warning", "OutOfMemory"]
    assert "x5 over" in line
    assert "fita" in line
    assert line.endswith("needs 90 kB, 40 kB are free")
    listed = cluster.run("get", "events", f"--namespace={namespace}", "--no-headers").stdout
    assert "pod/lamp" in listed
    described = cluster.run("describe", "node", f"n-{namespace}").stdout
    assert "the device is back" in described
    await client.delete(NODES, f"n-{namespace}")


def metadata(item: dict[str, object]) -> ObjectMeta:
    return msgspec.convert(item["metadata"], ObjectMeta)
