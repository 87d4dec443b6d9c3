"""The whole path: from nothing to a running service, with real runtime instances.

``python -m benchmarks.whole_path`` measures the start of the local Kubernetes, its memory, and, for each number in
--devices, the time from a device's start to its node's Ready and from ``kubectl apply`` to each pod's Running.
``--cold`` also compiles Kubernetes with an empty cache, which takes minutes. Times are those of a watch of nodes
and pods, as any client sees them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.report import Figure, emit, median_and_p99, parser
from fita.app.state import GatewayState
from fita.base.logging import configure_logging
from fita.base.resource import resource_folder
from fita.demo.kubectl import Kubectl
from fita.demo.session import gateway_session, run_cli
from fita.kube.client import KubernetesClient
from fita.kube.informer import Informer
from fita.kube.kubeconfig import load_kubeconfig
from fita.kube.resource import NODES, PODS
from fita.localcluster.build.compilation import ensure_built
from fita.model.kubernetes import Node, Pod
from fita.model.quantity import parse_bytes
from fita.simulator.fleet import DeviceSpec, Fleet

HEAP_BYTES = 128 * 1024
STARTS = 3
LEAST_SAMPLES = 20
DEADLINE_S = 300.0


@dataclass(slots=True)
class Moments:
    """When each node or pod was first seen ready, on this process's monotonic clock."""

    ready_at: dict[str, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def node_changed(self, key: str, _old: Node | None, new: Node | None) -> None:
        if new is not None and any(c.type == "Ready" and c.status == "True" for c in new.status.conditions):
            self._note(key)

    def pod_changed(self, key: str, _old: Pod | None, new: Pod | None) -> None:
        if new is not None and any(c.type == "Ready" and c.status == "True" for c in new.status.conditions):
            self._note(key)

    def _note(self, key: str) -> None:
        self.ready_at.setdefault(key, time.monotonic())
        self.changed.set()

    async def wait_for(self, count: int) -> None:
        while len(self.ready_at) < count:
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def watching(gateway: GatewayState) -> AsyncIterator[tuple[Moments, Moments]]:
    """Nodes and pods of the cluster, followed while the context lasts."""
    nodes, pods = Moments(), Moments()
    async with KubernetesClient(load_kubeconfig(Path(gateway.kubeconfig or ""))) as client:
        node_informer = Informer(client, NODES, Node)
        pod_informer = Informer(client, PODS, Pod, namespace="default")
        node_informer.add_listener(nodes.node_changed)
        pod_informer.add_listener(pods.pod_changed)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(node_informer.run()), group.create_task(pod_informer.run())]
            await node_informer.wait_synced()
            await pod_informer.wait_synced()
            yield nodes, pods
            for task in tasks:
                task.cancel()


def tree_pss_bytes(pid: int) -> int:
    """Proportional set size of a process and all its descendants, in bytes."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            total = int(line.split()[1]) * 1024
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        total += sum(tree_pss_bytes(int(child)) for child in children.read_text(encoding="ascii").split())
    return total


async def measure_cold_compile() -> list[Figure]:
    """`ensure_built` with no binary and nothing compiled; modules that were downloaded before are kept."""
    with tempfile.TemporaryDirectory(prefix="fita-cold-") as folder:
        os.environ["GOCACHE"] = f"{folder}/go-build"
        started = time.monotonic()
        await ensure_built(cache=Path(folder))
        seconds = time.monotonic() - started
        del os.environ["GOCACHE"]
    return [Figure("cold compile, downloads excluded", seconds, "s")]


async def measure_start() -> list[Figure]:
    """From the command to the gateway's readiness, in a new data folder."""
    seconds = []
    for _ in range(STARTS):
        started = time.monotonic()
        async with gateway_session():
            seconds.append(time.monotonic() - started)
    return [Figure(f"start to ready, median of {STARTS}", sorted(seconds)[STARTS // 2], "s", "<= 6")]


def device_specs(folder: Path, gateway: GatewayState, count: int) -> list[DeviceSpec]:
    return [
        DeviceSpec(
            endpoint=f"{folder.name}-{number}",
            gateway=gateway.coap_address,
            heap_bytes=HEAP_BYTES,
            folder=folder / str(number),
            capabilities=("temperature_sensor",),
            seed=number,
        )
        for number in range(1, count + 1)
    ]


async def deployment_file(data_dir: Path, replicas: int) -> Path:
    """The demonstration's Deployment with `replicas`, and its service in the gateway's store."""
    demo = resource_folder("demos") / "temperature"
    await run_cli("service", "build", str(demo / "average"), "--data-dir", str(data_dir))
    text = (demo / "deployment.yaml").read_text(encoding="utf-8")
    path = data_dir / "deployment.yaml"
    path.write_text(text.replace("replicas: 1", f"replicas: {replicas}"), encoding="utf-8")
    return path


@dataclass(slots=True)
class Samples:
    """What the rounds with one number of devices have shown. `joined` in seconds, `ran` in milliseconds."""

    joined: list[float] = field(default_factory=list)
    ran: list[float] = field(default_factory=list)
    busy_bytes: int = 0
    runtime_bytes: int = 0


async def run_round(
    samples: Samples, kubectl: Kubectl, gateway: GatewayState, *, specs: list[DeviceSpec], manifest: Path
) -> None:
    """New devices boot and join, each gets a pod, all goes away again."""
    async with watching(gateway) as (nodes, pods):
        started = time.monotonic()
        async with Fleet(specs):
            await nodes.wait_for(len(specs))
            samples.joined += [moment - started for moment in nodes.ready_at.values()]
            applied = time.monotonic()
            await kubectl.apply(manifest)
            await pods.wait_for(len(specs))
            samples.ran += [(moment - applied) * 1000 for moment in pods.ready_at.values()]
            samples.busy_bytes = max(samples.busy_bytes, tree_pss_bytes(gateway.pid))
            samples.runtime_bytes = max(_runtime_bytes(await kubectl.run("get", "nodes", "--output=json")))
            await kubectl.run("delete", "--filename", str(manifest), "--cascade=foreground")
        await kubectl.run("delete", "nodes", "--all")


async def measure_devices(count: int) -> list[Figure]:
    """Rounds of `count` devices at once on a cluster of their own; so many that there are `LEAST_SAMPLES`."""
    samples = Samples()
    async with asyncio.timeout(DEADLINE_S), gateway_session() as (data_dir, gateway):
        kubectl = Kubectl(gateway.kubectl, gateway.kubeconfig or "")
        manifest = await deployment_file(data_dir, count)
        idle_bytes = tree_pss_bytes(gateway.pid)
        for number in range(max(1, -(-LEAST_SAMPLES // count))):
            specs = device_specs(data_dir / f"round{number}", gateway, count)
            await run_round(samples, kubectl, gateway, specs=specs, manifest=manifest)
    what = f"{count} device{'s' if count > 1 else ''} at once"
    return [
        Figure(f"before {what}: memory of Kubernetes and gateway", idle_bytes / 1e6, "MB", "<= 450"),
        Figure(f"{what}, a pod on each: memory of Kubernetes and gateway", samples.busy_bytes / 1e6, "MB"),
        *median_and_p99(f"{what}: device start to node Ready", samples.joined, "s"),
        *median_and_p99(f"{what}: apply to pod Running and Ready", samples.ran, "ms"),
        Figure(
            f"{what}: heap of {HEAP_BYTES // 1024} KiB kept by the runtime", samples.runtime_bytes / 1024, "KiB"
        ),
    ]


def _runtime_bytes(nodes: str) -> list[int]:
    """Capacity less allocatable memory of every node."""
    return [
        parse_bytes(node["status"]["capacity"]["memory"]) - parse_bytes(node["status"]["allocatable"]["memory"])
        for node in msgspec.json.decode(nodes)["items"]
    ]


async def measure(devices: list[int], *, cold: bool) -> list[Figure]:
    figures = await measure_cold_compile() if cold else []
    await ensure_built()
    figures += await measure_start()
    for count in devices:
        figures += await measure_devices(count)
    return figures


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--devices", type=int, nargs="+", default=[1, 100], metavar="N")
    options.add_argument("--cold", action="store_true", help="also compile Kubernetes with empty caches")
    chosen = options.parse_args()
    configure_logging()
    emit("whole_path", asyncio.run(measure(chosen.devices, cold=chosen.cold)), as_json=chosen.json)


if __name__ == "__main__":
    main()
