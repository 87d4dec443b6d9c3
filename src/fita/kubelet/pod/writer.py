"""Writes what is so into a pod: one patch for status and annotations, and only when something differs."""

from __future__ import annotations

import asyncio

import msgspec

from fita.base.clock import Clock
from fita.kube.client import KubernetesClient, PatchStrategy
from fita.kube.errors import ConflictError, NotFoundError
from fita.kube.resource import PODS, RawObject
from fita.kubelet.deadline import api_deadline
from fita.kubelet.device import Device
from fita.kubelet.metric import KubeletMetrics
from fita.kubelet.pod.failure import Failure
from fita.kubelet.pod.image import image_id
from fita.kubelet.pod.index import PodIndex, PodKey
from fita.kubelet.pod.metadata import pod_annotations
from fita.kubelet.pod.record import PodRecord
from fita.kubelet.pod.status import PodView, lost_status, pod_status, refused_status, status_patch
from fita.model.kubernetes import Pod, PodStatus
from fita.model.runtime import ServicePhase, ServiceStatus


class PodWriter:
    """The one place that changes pods. A pod that is gone, or has become another, is left alone."""

    def __init__(self, *, client: KubernetesClient, pods: PodIndex, metrics: KubeletMetrics, clock: Clock) -> None:
        self._client = client
        self._pods = pods
        self._metrics = metrics
        self._clock = clock

    async def report(self, key: PodKey, record: PodRecord, device: Device, service: ServiceStatus | None) -> None:
        """Write what the device says of the pod's service, and why the pod does not run if it does not."""
        stored = self._pods.get(key)
        if stored is None or stored.metadata.uid != record.uid:
            return
        pod = record.current(stored)
        current = service is not None and bool(record.digest) and service.digest == record.digest
        view = PodView(
            service=service,
            image=record.image if current else "",
            image_id=image_id(record.image, record.digest) if current else "",
            container_id=f"fita://{device.endpoint}/{service.instance}" if service else "",
            failure=record.failure,
            starts=record.count(pod, service),
            address_ip=device.address_ip,
        )
        annotations = pod_annotations(device, record.metadata) if service else {}
        await self._write(key, record, pod_status(pod, view, now=self._clock()), annotations)
        self._note_running(record, service)

    async def refuse(self, key: PodKey, record: PodRecord, failure: Failure) -> None:
        """Write that the node does not admit the pod: it has failed."""
        if (stored := self._pods.get(key)) is not None:
            await self._write(key, record, refused_status(record.current(stored), failure, now=self._clock()))

    async def lose(self, key: PodKey, record: PodRecord, device: Device) -> None:
        """Write that nobody knows any more whether the pod is ready."""
        record.running = False
        if (stored := self._pods.get(key)) is not None:
            status = lost_status(record.current(stored), device.lost_because, now=self._clock())
            await self._write(key, record, status)

    def _note_running(self, record: PodRecord, service: ServiceStatus | None) -> None:
        record.running = service is not None and service.phase is ServicePhase.RUNNING
        if record.running and record.was_pending:
            record.was_pending = False
            self._metrics.bound_to_running.observe(asyncio.get_running_loop().time() - record.seen_at)

    async def _write(
        self, key: PodKey, record: PodRecord, status: PodStatus, annotations: dict[str, str] | None = None
    ) -> None:
        stored = self._pods.get(key)
        if stored is None or stored.metadata.uid != record.uid:
            return
        pod = record.current(stored)
        body = _patch(pod, status, annotations or {})
        if not body:
            return
        try:
            async with api_deadline():
                written = await self._client.patch(
                    PODS,
                    pod.metadata.name,
                    body,
                    namespace=pod.metadata.namespace,
                    subresource="status",
                    strategy=PatchStrategy.STRATEGIC,
                )
        except (NotFoundError, ConflictError):
            return  # the pod is gone, or is another one of the same name: the informer will say
        self._metrics.patches.labels("pod").inc()
        record.wrote(msgspec.convert(written, Pod), over=stored.metadata.resource_version)


def _patch(pod: Pod, status: PodStatus, annotations: dict[str, str]) -> RawObject:
    """What differs, guarded by the pod's uid; empty: nothing."""
    changes = status_patch(pod, status)
    missing = {name: value for name, value in annotations.items() if pod.metadata.annotations.get(name) != value}
    if not changes and not missing:
        return {}
    metadata: RawObject = {"uid": pod.metadata.uid}
    if missing:
        metadata["annotations"] = missing
    return {"metadata": metadata, "status": changes}
