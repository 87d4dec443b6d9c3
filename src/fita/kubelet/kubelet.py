"""The kubelet of all devices of one gateway: joins nodes, leases, pods and services, and hears of devices.

device registers ─▶ device table ─▶ node controller ─▶ Node, lease
                                 └▶ sweeper: remove services without a pod
pod bound ─▶ informer ─▶ pod reconciler ─▶ deployer ─▶ `DeviceRuntime`
service changes ───────▶ pod reconciler ─▶ writer ─▶ pod status
"""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from fita.base.clock import Clock, utc_now
from fita.kube.client import KubernetesClient
from fita.kube.event import EventRecorder
from fita.kube.informer import Informer
from fita.kube.resource import NODES, PODS
from fita.kubelet.device import Device, DeviceTable
from fita.kubelet.garbage import ServiceSweeper
from fita.kubelet.interfaces import DeviceRuntime
from fita.kubelet.lease import LeaseRenewer
from fita.kubelet.metric import KubeletMetrics
from fita.kubelet.node import node_name
from fita.kubelet.node_controller import NodeController
from fita.kubelet.pod.deployment import Deployer
from fita.kubelet.pod.event import PodEvents
from fita.kubelet.pod.index import PodIndex
from fita.kubelet.pod.reconciler import PodReconciler
from fita.kubelet.pod.writer import PodWriter
from fita.model.device import DeviceProfile, Endpoint
from fita.model.kubernetes import Node, Pod
from fita.model.runtime import ServiceStatus, WorkloadId
from fita.model.wellknown import FIELD_MANAGER, LABEL_GATEWAY
from fita.oci.puller import ArtifactSource


class Kubelet:
    """A listener of the device protocol (see `fita.lwm2m.interfaces.DeviceListener`) that serves Kubernetes.

    Keeps nothing that it could not read again from Kubernetes and from the devices.
    """

    def __init__(
        self,
        *,
        client: KubernetesClient,
        runtime: DeviceRuntime,
        artifacts: ArtifactSource,
        gateway_name: str,
        registry: CollectorRegistry | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._gateway_name = gateway_name
        self._devices = DeviceTable()
        self._recorder = EventRecorder(client, component=FIELD_MANAGER, host=gateway_name, clock=clock)
        self._leases = LeaseRenewer(client, clock=clock)
        metrics = KubeletMetrics(registry or CollectorRegistry())
        self._node_informer: Informer[Node] = Informer(
            client, NODES, Node, label_selector=f"{LABEL_GATEWAY}={gateway_name}"
        )
        self._pod_informer: Informer[Pod] = Informer(client, PODS, Pod, field_selector="spec.nodeName!=")
        self._index = PodIndex(self._pod_informer)
        self._nodes = NodeController(
            client=client,
            gateway_name=gateway_name,
            devices=self._devices,
            nodes=self._node_informer,
            leases=self._leases,
            recorder=self._recorder,
            metrics=metrics,
            clock=clock,
            on_lost=self._lost,
        )
        events = PodEvents(self._recorder)
        deployer = Deployer(client=client, runtime=runtime, artifacts=artifacts, events=events, metrics=metrics)
        self._pods = PodReconciler(
            client=client,
            pods=self._index,
            devices=self._devices,
            runtime=runtime,
            deployer=deployer,
            writer=PodWriter(client=client, pods=self._index, metrics=metrics, clock=clock),
            events=events,
            metrics=metrics,
        )
        self._sweeper = ServiceSweeper(
            devices=self._devices,
            runtime=runtime,
            pods=self._index,
            deployer=deployer,
            on_removed=self._pods.room_made,
        )
        self._node_informer.add_listener(self._nodes.node_changed)
        self._pod_informer.add_listener(self._pods.pod_changed)
        self._pod_informer.add_listener(self._sweep_after)
        metrics.watch(
            nodes=lambda: sum(device.online for device in self._devices),
            pods=lambda: self._pods.pods,
            pods_running=lambda: self._pods.running,
        )

    @property
    def ready(self) -> bool:
        """Whether nodes and pods have been read, so that devices that register become nodes."""
        return self._node_informer.synced and self._pod_informer.synced

    @property
    def away_s(self) -> float:
        """Seconds since nodes or pods could last be followed; 0 while both are."""
        return max(self._node_informer.away_s, self._pod_informer.away_s)

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._node_informer.wait_synced()
        await self._pod_informer.wait_synced()

    async def run(self) -> None:
        """Serve, until cancelled. Nothing is decided before nodes and pods have been read."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            group.create_task(self._node_informer.run())
            group.create_task(self._pod_informer.run())
            await self.wait_ready()
            group.create_task(self._leases.run())
            group.create_task(self._nodes.run())
            group.create_task(self._sweeper.run())
            group.create_task(self._pods.run())

    def workload(self, workload: WorkloadId) -> tuple[str, str, str] | None:
        """Namespace, pod and node that a service on a device runs for; None when there is no such pod."""
        pod = self._index.of_workload(workload)
        return None if pod is None else (pod.metadata.namespace, pod.metadata.name, pod.spec.node_name)

    def device_joined(self, profile: DeviceProfile) -> None:
        """A device has registered, or its profile has changed."""
        name = node_name(self._gateway_name, profile.endpoint)
        device = self._devices.join(profile, node=name)
        if device is None:
            self._nodes.refuse(profile.endpoint, self._node_informer.get(name))
            return
        self._nodes.add(profile.endpoint)
        self._sweeper.add(profile.endpoint)
        self._pods.add_node(name)

    def device_lost(self, endpoint: Endpoint, reason: str) -> None:
        """A device's registration has ended."""
        if (device := self._devices.lose(endpoint, reason)) is not None:
            self._nodes.add(endpoint)
            self._lost(device)

    def service_changed(self, endpoint: Endpoint, status: ServiceStatus | None) -> None:
        """A service's status as its device says it; None: any of them may have changed."""
        device = self._devices.get(endpoint)
        if device is None:
            return
        pod = self._index.of_workload(status.workload) if status is not None and status.workload else None
        if pod is not None and pod.spec.node_name == device.node:
            self._pods.add(f"{pod.metadata.namespace}/{pod.metadata.name}")
        else:
            self._pods.add_node(device.node)
            self._sweeper.add(endpoint)

    def _lost(self, device: Device) -> None:
        self._pods.device_lost(device)

    def _sweep_after(self, key: str, old: Pod | None, new: Pod | None) -> None:
        """A pod that is gone may have left its service: force-deleted, or deleted while the device was away."""
        if new is None and old is not None:
            device = self._devices.of_node(old.spec.node_name)
            if device is not None and device.online:
                self._sweeper.add(device.endpoint)
