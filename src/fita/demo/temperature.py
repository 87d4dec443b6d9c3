"""Two devices become nodes, a Deployment averages their temperatures, is scaled, updated and removed.

What is measured is what a user sees: kubectl's own waiting, the gateway's own metrics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from fita.app.output_client import OutputClient, fetch_metrics
from fita.app.state import GatewayState
from fita.base.resource import resource_folder
from fita.databus.store import Output
from fita.demo.errors import DemoError
from fita.demo.kubectl import Kubectl
from fita.demo.session import SESSION_DEADLINE_S, gateway_session, run_cli
from fita.demo.stage import STEP_DEADLINE_S, Stage
from fita.model.quantity import parse_bytes
from fita.simulator.fleet import DeviceSpec, Fleet

DEVICES = 2
HEAP_BYTES = 128 * 1024
CAPABILITY = "temperature_sensor"
VALUES_PER_POD = 3
PLAUSIBLE_CELSIUS = (5.0, 35.0)
"""The emulated sensor's daily curve stays inside; an average outside is a fault."""
DEPLOYMENT = "deployment/average"
"""In demos/temperature/deployment.yaml."""
REGISTER_TO_READY = "fita_kubelet_register_to_ready_seconds"


class DemoNode(msgspec.Struct, frozen=True):
    """A device as `kubectl get nodes` shows it. `runtime_bytes` of its memory are the runtime's own."""

    name: str
    platform: str
    memory_bytes: int
    runtime_bytes: int


class DemoPod(msgspec.Struct, frozen=True):
    name: str
    node: str
    image: str


class TemperatureReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the demonstration saw.

    `device_heap_bytes` is a device's heap limit, of which the runtime keeps `device_heap_runtime_bytes` to itself.
    `register_to_ready_ms` is the mean over the devices. `apply_to_running_ms` runs from before ``kubectl apply``
    to the end of ``kubectl rollout status``.
    """

    nodes: list[DemoNode]
    pods: list[DemoPod]
    values: list[Output]
    register_to_ready_ms: float
    apply_to_running_ms: float
    device_heap_bytes: int
    device_heap_runtime_bytes: int
    kubernetes_version: str


@dataclass(slots=True)
class Scene:
    """Everything that the steps share."""

    stage: Stage
    kubectl: Kubectl
    gateway: GatewayState
    values: list[Output] = field(default_factory=list)
    pods: dict[str, DemoPod] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def collect(self) -> None:
        """Take every value that the gateway gives out, until cancelled."""
        async for output in OutputClient(self.gateway.http_url).follow():
            async with self.changed:
                self.values.append(output)
                self.changed.notify_all()

    async def wait_for_values(self, pods: list[DemoPod], key: str) -> list[Output]:
        """The newest value of `key` from each pod, once each has sent `VALUES_PER_POD`."""

        def latest() -> list[Output] | None:
            mine = [[v for v in self.values if v.pod == pod.name and v.key == key] for pod in pods]
            return [values[-1] for values in mine] if all(len(v) >= VALUES_PER_POD for v in mine) else None

        async with self.changed:
            await self.changed.wait_for(lambda: latest() is not None)
        found = latest() or []
        low, high = PLAUSIBLE_CELSIUS
        if wrong := [value for value in found if not low <= value.value <= high]:
            raise DemoError(f"{wrong[0].pod} reports {wrong[0].value:g} Cel, outside {low:g} to {high:g}")
        return found

    async def running_pods(self, expected: int) -> list[DemoPod]:
        """The Deployment's pods that run; each on a device of its own."""
        items = await self.kubectl.items("pods", "--selector=app=average", "--field-selector=status.phase=Running")
        found = [
            DemoPod(item["metadata"]["name"], item["spec"]["nodeName"], item["spec"]["containers"][0]["image"])
            for item in items
            if "deletionTimestamp" not in item["metadata"]
        ]
        if len({pod.node for pod in found}) != expected or len(found) != expected:
            raise DemoError(f"{expected} pods on {expected} devices expected, found {found}")
        self.pods |= {pod.name: pod for pod in found}
        return found

    def show(self, outputs: list[Output]) -> None:
        rows = [(o.pod, o.node, f"{o.service}/{o.key}", f"{o.value:.2f} {o.unit}") for o in outputs]
        self.stage.table(("POD", "NODE", "OUTPUT", "VALUE"), rows)


async def run_temperature(
    stage: Stage, *, keep: Callable[[GatewayState], None] | None = None
) -> TemperatureReport:
    """Run the demonstration and return what was seen. Raises `FitaError`.

    With `keep` the service is not removed at the end: `keep` is called and everything goes on running until the
    task is cancelled.
    """
    async with AsyncExitStack() as stack:
        async with stage.step("Start a Kubernetes of our own, and the gateway", deadline_s=SESSION_DEADLINE_S):
            data_dir, gateway = await stack.enter_async_context(gateway_session())
        scene = Scene(stage, Kubectl(gateway.kubectl, gateway.kubeconfig or ""), gateway)
        stage.say(
            f"Kubernetes {gateway.kubernetes_version}; enrolment is open: every device that registers may join"
        )
        fleet = Fleet(_devices(data_dir, gateway))
        await stack.enter_async_context(fleet)
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(scene.collect())
            nodes = await _join(scene)
            apply_to_running_ms = await _deploy(scene, data_dir)
            await _scale(scene)
            await _update(scene)
            if keep is None:
                await _remove(scene)
            register_to_ready_ms = await _mean_ms(gateway, REGISTER_TO_READY)
            if keep is not None:
                keep(gateway)
                await asyncio.Event().wait()
            collecting.cancel()
    return TemperatureReport(
        nodes=nodes,
        pods=list(scene.pods.values()),
        values=scene.values,
        register_to_ready_ms=register_to_ready_ms,
        apply_to_running_ms=apply_to_running_ms,
        device_heap_bytes=HEAP_BYTES,
        device_heap_runtime_bytes=max(node.runtime_bytes for node in nodes),
        kubernetes_version=gateway.kubernetes_version,
    )


def _devices(data_dir: Path, gateway: GatewayState) -> list[DeviceSpec]:
    return [
        DeviceSpec(
            endpoint=f"b1_node{number}",
            gateway=gateway.coap_address,
            heap_bytes=HEAP_BYTES,
            folder=data_dir / f"b1_node{number}",
            capabilities=(CAPABILITY,),
            seed=number,
        )
        for number in range(1, DEVICES + 1)
    ]


async def _join(scene: Scene) -> list[DemoNode]:
    names = [f"node/{scene.gateway.gateway_name}-b1-node{number}" for number in range(1, DEVICES + 1)]
    async with scene.stage.step(f"{DEVICES} devices of {HEAP_BYTES // 1024} kB boot and become nodes"):
        for name in names:  # of several names that do not exist yet kubectl makes an error
            await scene.kubectl.run("wait", "--for=create", name, f"--timeout={STEP_DEADLINE_S:g}s")
        await scene.kubectl.run("wait", "--for=condition=Ready", *names, f"--timeout={STEP_DEADLINE_S:g}s")
        nodes = [_seen_node(item) for item in await scene.kubectl.items("nodes")]
    if len(nodes) != DEVICES:
        raise DemoError(f"{DEVICES} nodes expected, found {[node.name for node in nodes]}")
    rows = [
        (node.name, node.platform, f"{node.memory_bytes // 1024}Ki", f"{node.runtime_bytes // 1024}Ki")
        for node in nodes
    ]
    scene.stage.table(("NODE", "PLATFORM", "MEMORY", "KEPT BY THE RUNTIME"), rows)
    return nodes


async def _deploy(scene: Scene, data_dir: Path) -> float:
    demo = resource_folder("demos") / "temperature"
    async with scene.stage.step("fita service build average, average-v2"):
        for folder in ("average", "average-v2"):
            await run_cli("service", "build", str(demo / folder), "--data-dir", str(data_dir))
    async with scene.stage.step("kubectl apply -f demos/temperature/deployment.yaml"):
        started = time.monotonic()
        await scene.kubectl.apply(demo / "deployment.yaml")
        await scene.kubectl.rollout(DEPLOYMENT)
        apply_to_running_ms = (time.monotonic() - started) * 1000
        outputs = await scene.wait_for_values(await scene.running_pods(1), "average")
    scene.show(outputs)
    return apply_to_running_ms


async def _scale(scene: Scene) -> None:
    async with scene.stage.step(f"kubectl scale {DEPLOYMENT} --replicas={DEVICES}"):
        await scene.kubectl.run("scale", DEPLOYMENT, f"--replicas={DEVICES}")
        await scene.kubectl.rollout(DEPLOYMENT)
        outputs = await scene.wait_for_values(await scene.running_pods(DEVICES), "average")
    scene.show(outputs)


async def _update(scene: Scene) -> None:
    async with scene.stage.step(f"kubectl set image {DEPLOYMENT} average=fita.local/average:2"):
        await scene.kubectl.run("set", "image", DEPLOYMENT, "average=fita.local/average:2")
        await scene.kubectl.rollout(DEPLOYMENT)
        pods = await scene.running_pods(DEVICES)
        outputs = await scene.wait_for_values(pods, "average")
        outputs += await scene.wait_for_values(pods, "highest")
    scene.show(outputs)


async def _remove(scene: Scene) -> None:
    async with scene.stage.step(f"kubectl delete {DEPLOYMENT}"):
        await scene.kubectl.run("delete", DEPLOYMENT, "--cascade=foreground")
        if left := await scene.kubectl.items("pods"):
            raise DemoError(f"{len(left)} pods are left after the deletion")
        if still := await OutputClient(scene.gateway.http_url).latest():
            raise DemoError(f"{still[0].pod} is deleted, but its value is still given out")


def _seen_node(item: dict[str, Any]) -> DemoNode:
    info, status = item["status"]["nodeInfo"], item["status"]
    capacity, allocatable = (parse_bytes(status[kind]["memory"]) for kind in ("capacity", "allocatable"))
    if capacity != HEAP_BYTES:
        raise DemoError(f"{item['metadata']['name']} says it has {capacity} bytes of memory, not {HEAP_BYTES}")
    platform = f"{info['operatingSystem']}/{info['architecture']}"
    return DemoNode(item["metadata"]["name"], platform, capacity, capacity - allocatable)


async def _mean_ms(gateway: GatewayState, histogram: str) -> float:
    """The mean of one of the gateway's Prometheus histograms of seconds."""
    text = await fetch_metrics(gateway.http_url)
    samples = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    count = samples.get(f"{histogram}_count", 0.0)
    if not count:
        raise DemoError(f"the gateway has measured no {histogram}")
    return samples[f"{histogram}_sum"] / count * 1000
