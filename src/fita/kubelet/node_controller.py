"""Makes and keeps the Node objects of devices, and with them the leases.

A device that is there has a Ready node and a lease that is renewed. A device that is lost has a node that says
Unknown, at once, and no heartbeat any more: what follows (taints, eviction) is Kubernetes'. Nodes are never
deleted here: a device may come back, and what somebody wrote on its node is still there then.

After a restart of the gateway, nodes that were Ready stay so for as long as their devices' registrations may
still be alive: a device that is well will be heard of within its lifetime.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import msgspec
import structlog

from fita.base.clock import Clock
from fita.kube.client import KubernetesClient, PatchStrategy
from fita.kube.errors import AlreadyExistsError
from fita.kube.event import EventRecorder, reference
from fita.kube.informer import Informer
from fita.kube.queue import WorkQueue
from fita.kube.resource import NODES, RawObject
from fita.kubelet.deadline import api_deadline, remaining
from fita.kubelet.device import Device, DeviceTable, Presence
from fita.kubelet.lease import LeaseRenewer
from fita.kubelet.metric import KubeletMetrics
from fita.kubelet.node import (
    REASON_LOST,
    REASON_REGISTERED,
    describe_node,
    lost_patch,
    node_manifest,
    node_patch,
    ready_conditions,
)
from fita.model import wellknown
from fita.model.device import DeviceProfile, Endpoint
from fita.model.kubernetes import Node, NodeCondition

log = structlog.get_logger(__name__)

WORKERS = 32
REFUSED_RETRY_S = 60.0
"""A name that another node has may become free; the informer does not tell of nodes of others."""

DEFAULT_LIFETIME_S = 300.0
_NOT_HEARD_OF = "the device has not registered since the gateway started"


class NodeController:
    """One queue of devices whose nodes may have to change. `on_lost` hears of those that did not come back."""

    def __init__(
        self,
        *,
        client: KubernetesClient,
        gateway_name: str,
        devices: DeviceTable,
        nodes: Informer[Node],
        leases: LeaseRenewer,
        recorder: EventRecorder,
        metrics: KubeletMetrics,
        clock: Clock,
        on_lost: Callable[[Device], None],
    ) -> None:
        self._client = client
        self._gateway_name = gateway_name
        self._devices = devices
        self._nodes = nodes
        self._leases = leases
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._on_lost = on_lost
        self._measured: dict[Endpoint, int] = {}
        self._queue: WorkQueue[Endpoint] = WorkQueue(self.reconcile, workers=WORKERS, name="nodes")

    async def run(self) -> None:
        """Reconcile, for ever."""
        await self._queue.run()

    def add(self, endpoint: Endpoint) -> None:
        """Look at the node of a device."""
        self._queue.add(endpoint)

    def node_changed(self, key: str, old: Node | None, new: Node | None) -> None:
        """An informer's listener: also how devices are known that have not registered since the start."""
        endpoint = _endpoint_of(new or old)
        if endpoint is None:
            return
        if new is not None and self._devices.get(endpoint) is None:
            self._devices.expect(endpoint, node=key)
        self._queue.add(endpoint)

    async def reconcile(self, endpoint: Endpoint) -> float | None:
        """Do what is to do for the device's node now; returns in how many seconds to look again."""
        device = self._devices.get(endpoint)
        if device is None:
            return None
        node = self._nodes.get(device.node)
        if node is not None and _endpoint_of(node) not in (None, endpoint):
            self._leases.drop(device.node)
            self.refuse(endpoint, node)
            return REFUSED_RETRY_S
        if device.online and device.profile is not None:
            return await self._keep(device, device.profile, node)
        if node is None:
            self._leases.drop(device.node)
            self._devices.forget(device)
            return None
        if device.presence is Presence.EXPECTED:
            delay_s = await self._expect(device, node)
            if delay_s > 0:
                return delay_s
        await self._lose(device, node)
        return None

    async def _keep(self, device: Device, profile: DeviceProfile, node: Node | None) -> float | None:
        """Make the node say what the device says, Ready, and renew its lease."""
        now = self._clock()
        form = describe_node(profile, gateway_name=self._gateway_name)
        conditions = ready_conditions(profile)
        if node is None:
            node = await self._create(node_manifest(form, conditions, now=now))
            if _endpoint_of(node) not in (None, device.endpoint):
                self.refuse(device.endpoint, node)
                return REFUSED_RETRY_S
        if body := node_patch(node, form, conditions, now=now):
            await self._patch(node, body)
            if _ready(node).status != "True":
                self._note(node, REASON_REGISTERED, f"Device {device.endpoint} is there again")
        self._leases.keep(device.node, uid=node.metadata.uid)
        self._measure(device)
        return None

    async def _create(self, manifest: RawObject) -> Node:
        """The node as made, or as it is if there is one of this name."""
        try:
            async with api_deadline():
                made = await self._client.create(NODES, manifest)
        except AlreadyExistsError:
            async with api_deadline():
                return msgspec.convert(await self._client.get(NODES, manifest["metadata"]["name"]), Node)
        self._metrics.patches.labels("node").inc()
        node = msgspec.convert(made, Node)
        log.info("node made", node=node.metadata.name)
        self._note(node, REASON_REGISTERED, "Device has registered for the first time")
        return node

    async def _patch(self, node: Node, body: RawObject) -> None:
        """One request for status, labels and annotations, as kubelets do it."""
        async with api_deadline():
            await self._client.patch(
                NODES, node.metadata.name, body, subresource="status", strategy=PatchStrategy.STRATEGIC
            )
        self._metrics.patches.labels("node").inc()

    async def _expect(self, device: Device, node: Node) -> float:
        """How much longer the device may come back as if nothing had happened; the lease is renewed until then."""
        ready = _ready(node)
        if not device.expected_until:
            expected_s = await self._registered_for_s(node) if ready.status == "True" else 0.0
            device.expected_until = asyncio.get_running_loop().time() + expected_s
        if device.online:
            return 0.0
        if (left_s := remaining(device.expected_until)) > 0:
            self._leases.keep(device.node, uid=node.metadata.uid)
            return left_s
        known = ready.reason == REASON_LOST and bool(ready.message)
        self._devices.lose(device.endpoint, ready.message if known else _NOT_HEARD_OF)
        self._on_lost(device)
        return 0.0

    async def _registered_for_s(self, node: Node) -> float:
        """How much longer a device may be registered that the gateway before this one knew until its end."""
        renewed_at = await self._leases.renewed_at(node.metadata.name)
        age_s = (self._clock() - renewed_at).total_seconds() if renewed_at is not None else math.inf
        return max(0.0, _lifetime_s(node) - age_s)

    async def _lose(self, device: Device, node: Node) -> None:
        """Say that nobody knows, and let the lease lapse."""
        self._leases.drop(device.node)
        if body := lost_patch(node, device.lost_because, now=self._clock()):
            log.info("node lost", node=device.node, reason=device.lost_because)
            await self._patch(node, body)
            self._note(node, REASON_LOST, f"Device {device.endpoint} is lost: {device.lost_because}", warning=True)

    def refuse(self, endpoint: Endpoint, node: Node | None) -> None:
        """Say that another device, or a real machine, has the name that the device's node would have."""
        log.error("node name taken", device=endpoint, owner=_endpoint_of(node))
        if node is not None:
            text = f"Device {endpoint} would be this node too and was refused: give it another endpoint name"
            self._note(node, "NodeNameTaken", text, warning=True)

    def _note(self, node: Node, reason: str, message: str, *, warning: bool = False) -> None:
        about = reference(NODES, node.metadata)
        self._recorder.record(about, type_="Warning" if warning else "Normal", reason=reason, message=message)

    def _measure(self, device: Device) -> None:
        """Observe once for each registration how long it took until the node was Ready."""
        if self._measured.get(device.endpoint) != device.registrations:
            self._measured[device.endpoint] = device.registrations
            elapsed_s = asyncio.get_running_loop().time() - device.joined_at
            self._metrics.register_to_ready.observe(elapsed_s)


def _endpoint_of(node: Node | None) -> Endpoint | None:
    """The endpoint of the device that the node is; None when it does not say."""
    text = node.metadata.annotations.get(wellknown.ANNOTATION_NODE_ID) if node is not None else None
    return Endpoint(text) if text else None


def _ready(node: Node) -> NodeCondition:
    for condition in node.status.conditions:
        if condition.type == wellknown.CONDITION_READY:
            return condition
    return NodeCondition(type=wellknown.CONDITION_READY, status="Unknown")


def _lifetime_s(node: Node) -> float:
    text = node.metadata.annotations.get(wellknown.ANNOTATION_LIFETIME, "")
    return float(text) if text.isascii() and text.isdigit() else DEFAULT_LIFETIME_S
