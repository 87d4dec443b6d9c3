"""A kubelet between an API server in memory and fake devices, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from fakes.device_runtime import START, FakeArtifacts, FakeRuntime
from fakes.memory_cluster import MemoryCluster
from fakes.rights import gateway_rights
from fita.kube.resource import EVENTS, NODES, PODS, RawObject
from fita.kubelet.kubelet import Kubelet

IMAGE = "fita.local/average:1"
GATEWAY = "gw"
DEADLINE_S = 5.0


class World:
    """What there is, and how long it took. `kubelet` may be ended and started anew: a restart of the gateway."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.cluster.rights = gateway_rights()
        self.runtime = FakeRuntime()
        self.artifacts = FakeArtifacts()
        self.artifacts.add(IMAGE)
        self.registry = CollectorRegistry()
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._task: asyncio.Task[None] | None = None
        self._uids = itertools.count(1)

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time() - self._started)

    async def start(self) -> None:
        """A gateway starts: it knows nothing, and devices have to register with it."""
        self.registry = CollectorRegistry()
        self.kubelet = Kubelet(
            client=self.cluster.client(),
            runtime=self.runtime,
            artifacts=self.artifacts,  # type: ignore[arg-type]
            gateway_name=GATEWAY,
            registry=self.registry,
            clock=self.now,
        )
        self.runtime.listener = self.kubelet
        self._task = self._loop.create_task(self.kubelet.run())
        if not self.cluster.down:
            await self.until(lambda: self.kubelet.ready)

    async def stop(self) -> None:
        """The gateway ends; devices go on, their registrations are forgotten."""
        self.runtime.listener = None
        task, self._task = self._task, None
        if task is not None:
            if task.done():
                task.result()
            task.cancel()
            await asyncio.wait([task])
        for device in self.runtime.all.values():
            device.online = False

    async def until(self, condition: Callable[[], Any], *, within_s: float = DEADLINE_S) -> Any:
        """Wait until `condition` is true and return what it gave."""
        loop = asyncio.get_running_loop()
        start, end = loop.time(), loop.time() + within_s
        while not (result := condition()):
            if self._task is not None and self._task.done():
                self._task.result()
            assert loop.time() < end, f"not within {within_s} s"
            await asyncio.sleep(0.01 if loop.time() < start + 2 else 0.2)
        return result

    def add_pod(self, name: str = "a", node: str = "gw-lamp1", image: str = IMAGE, **spec: Any) -> RawObject:
        """A pod as kube-scheduler leaves it. A namespace of its own for all: default."""
        container = {"name": "main", "image": image, **spec.pop("container", {})}
        body = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "containers": [container], "restartPolicy": "Always", **spec},
        }
        made = self.cluster.put(PODS, body)
        status = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}
        return self.cluster.patch(PODS, name, {"status": status}, "default", "status") or made

    def pod(self, name: str = "a") -> RawObject | None:
        return self.cluster.get(PODS, name, "default")

    def uid(self, name: str = "a") -> str:
        pod = self.pod(name)
        assert pod is not None
        return str(pod["metadata"]["uid"])

    def node(self, name: str = "gw-lamp1") -> RawObject | None:
        return self.cluster.get(NODES, name)

    def condition(self, item: RawObject | None, kind: str = "Ready") -> RawObject:
        conditions = (item or {}).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def is_ready(self, name: str = "a") -> bool:
        return self.condition(self.pod(name)).get("status") == "True"

    def container(self, name: str = "a") -> RawObject:
        statuses = (self.pod(name) or {}).get("status", {}).get("containerStatuses", [])
        return statuses[0] if statuses else {}

    def waiting(self, name: str = "a") -> str:
        return str(self.container(name).get("state", {}).get("waiting", {}).get("reason", ""))

    def reasons(self) -> set[str]:
        """The reasons of all events."""
        return {str(event["reason"]) for event in self.cluster.objects(EVENTS)}

    def writes(self, part: str) -> int:
        return sum(part in path for _, path in self.cluster.writes)

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A world with a kubelet that runs."""
    here = World()
    await here.start()
    try:
        yield here
    finally:
        await here.stop()
