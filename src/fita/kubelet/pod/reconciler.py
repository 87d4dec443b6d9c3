"""Brings pods and the services on devices together, one pod at a time, whatever happened before.

    pod deleted            remove the service, then the pod object; wait for the device if it is away
    pod ended              remove the service
    device lost            the pod is not Ready; the rest is Kubernetes' (taints, eviction)
    device not heard of    wait: after a restart of the gateway it has yet to register
    service is as wanted   say what the device says of it
    otherwise              one attempt to deploy, and on failure another one after a backoff

What runs is read from the device, what should run from the pod; nothing else decides. A service is the pod's by
the workload stored with it on the device, and up to date by its digest: that is why a restarted gateway deploys
nothing.
"""

from __future__ import annotations

import asyncio

import structlog

from fita.kube.client import KubernetesClient
from fita.kube.errors import ConflictError, NotFoundError
from fita.kube.queue import WorkQueue
from fita.kube.resource import PODS
from fita.kubelet.deadline import api_deadline, remaining
from fita.kubelet.device import Device, DeviceTable, Presence
from fita.kubelet.errors import PodFailureError
from fita.kubelet.interfaces import DeviceRuntime
from fita.kubelet.metric import KubeletMetrics
from fita.kubelet.pod.admission import TERMINAL_PHASES, check_capacity, check_pod, ignored_fields
from fita.kubelet.pod.deployment import ALIVE, Deployed, Deployer
from fita.kubelet.pod.event import PodEvents
from fita.kubelet.pod.failure import Failure
from fita.kubelet.pod.index import PodIndex, PodKey, service_of
from fita.kubelet.pod.metadata import service_metadata
from fita.kubelet.pod.record import BACKOFF_INITIAL_S, PodRecord
from fita.kubelet.pod.status import has_failed, previous_container
from fita.kubelet.pod.writer import PodWriter
from fita.model.device import DeviceProfile
from fita.model.kubernetes import Pod
from fita.model.runtime import DeployReason, ServiceStatus

log = structlog.get_logger(__name__)

WORKERS = 1024
"""Attempts wait for devices, not for this machine; there are never more under way than devices."""

RETRY_WORKERS = 768
"""So many attempts after failures at once leave room for pods that are new."""

RETRY_LATER_S = 1.0
ROOM_REASONS = frozenset({DeployReason.OUT_OF_MEMORY, DeployReason.OUT_OF_STORAGE, DeployReason.TOO_MANY_SERVICES})
"""What the removal of another service may cure."""


class PodReconciler:
    """Owns the work queue of pods and what is remembered of each."""

    def __init__(
        self,
        *,
        client: KubernetesClient,
        pods: PodIndex,
        devices: DeviceTable,
        runtime: DeviceRuntime,
        deployer: Deployer,
        writer: PodWriter,
        events: PodEvents,
        metrics: KubeletMetrics,
    ) -> None:
        self._client = client
        self._pods = pods
        self._devices = devices
        self._runtime = runtime
        self._deployer = deployer
        self._writer = writer
        self._events = events
        self._metrics = metrics
        self._records: dict[PodKey, PodRecord] = {}
        self._retrying = 0
        self._queue: WorkQueue[PodKey] = WorkQueue(self.reconcile, workers=WORKERS, name="pods")

    async def run(self) -> None:
        """Reconcile, for ever."""
        await self._queue.run()

    @property
    def pods(self) -> int:
        """How many pods are bound to nodes of this gateway."""
        return len(self._records)

    @property
    def running(self) -> int:
        """How many of them run, as their devices say."""
        return sum(record.running for record in self._records.values())

    def add(self, key: PodKey) -> None:
        """Look at a pod."""
        self._queue.add(key)

    def add_node(self, node: str) -> None:
        """Look at every pod of a node."""
        for key, _ in self._pods.on_node(node):
            self._queue.add(key)

    def pod_changed(self, key: PodKey, old: Pod | None, new: Pod | None) -> None:
        """An informer's listener. What is under way for a pod that is not wanted any more, or not so, ends."""
        record = self._records.get(key)
        if record is not None and not _is_wanted(new, record):
            record.call_off()
        if record is not None or (new is not None and self._devices.of_node(new.spec.node_name)):
            self._queue.add(key)

    def device_lost(self, device: Device) -> None:
        """What is under way on the device ends."""
        for key, _ in self._pods.on_node(device.node):
            if (record := self._records.get(key)) is not None:
                record.call_off()
            self._queue.add(key)

    def room_made(self, device: Device) -> None:
        """A service has left the device: pods that wait for room try again at once."""
        for key, _ in self._pods.on_node(device.node):
            record = self._records.get(key)
            if record is not None and record.failure is not None and record.failure.reason in ROOM_REASONS:
                record.retry_now()
                self._queue.add(key)

    async def reconcile(self, key: PodKey) -> float | None:
        """Do what is to do for the pod now; returns in how many seconds to look again."""
        stored = self._pods.get(key)
        if stored is None:
            self._records.pop(key, None)
            return None
        device = self._devices.of_node(stored.spec.node_name)
        if device is None:
            return None
        record = self._record(key, stored)
        pod = record.current(stored)
        if stored.metadata.deletion_timestamp is not None:
            return await self._finish(key, pod, record, device)
        if pod.status.phase in TERMINAL_PHASES:
            record.running = False
            return await self._remove(pod, device)
        return await self._run_pod(key, pod, record, device)

    async def _run_pod(self, key: PodKey, pod: Pod, record: PodRecord, device: Device) -> float | None:
        """What is to do for a pod that should run."""
        if device.presence is Presence.LOST:
            await self._writer.lose(key, record, device)
            return None
        record.turn_to(pod)
        if device.profile is None:
            return None
        service = service_of(pod, self._runtime.services(device.endpoint))
        refusal = self._admit(pod, record, device.profile, service)
        if refusal is not None and refusal.final:
            await self._writer.refuse(key, record, refusal)
            return None
        settled = service is not None and (has_failed(pod, service) or _is_current(record, service))
        if settled:
            record.succeed()
        await self._writer.report(key, record, device, service)
        return None if settled else await self._try(key, record, device)

    def _record(self, key: PodKey, pod: Pod) -> PodRecord:
        record = self._records.get(key)
        if record is None or record.uid != pod.metadata.uid:
            record = self._records[key] = PodRecord(
                uid=pod.metadata.uid,
                seen_at=asyncio.get_running_loop().time(),
                was_pending=pod.status.start_time is None,
            )
        return record

    def _admit(
        self, pod: Pod, record: PodRecord, profile: DeviceProfile, service: ServiceStatus | None
    ) -> Failure | None:
        """What keeps the pod from this node for ever, noted as its failure. What it has admitted it keeps."""
        refusal = check_pod(pod)
        if refusal is None and service is None and pod.status.start_time is None:
            others = [
                other
                for _, other in self._pods.on_node(pod.spec.node_name)
                if other.metadata.uid != pod.metadata.uid and _is_admitted(other)
            ]
            refusal = check_capacity(pod, others, profile)
        if refusal is not None and record.failure != refusal:
            record.failure = refusal
            self._note_failure(pod, refusal)
        elif refusal is None and not record.warned and (ignored := ignored_fields(pod)):
            record.warned = True
            self._events.warn(pod, "UnsupportedField", f"without meaning on a device: {', '.join(ignored)}")
        return refusal

    async def _try(self, key: PodKey, record: PodRecord, device: Device) -> float | None:
        """Make an attempt if one is due, the pod is still wanted, and the device is free."""
        delay_s = self._delay_s(record, device)
        if delay_s is None or delay_s > 0:
            return delay_s
        stored = self._pods.get(key)
        profile = device.profile
        if stored is None or not _is_wanted(stored, record) or profile is None or not device.online:
            return None
        if not device.occupy(key):
            return None
        try:
            return await self._attempt(key, record.current(stored), record, device, profile)
        finally:
            for waiting in device.release(key):
                self._queue.add(waiting)

    def _delay_s(self, record: PodRecord, device: Device) -> float | None:
        """In how many seconds the next attempt is due, None: never, unless something changes."""
        if record.failure is None:
            return 0.0
        if record.revision and record.revision != device.revision:
            record.retry_now()
            return 0.0
        if not record.failure.retryable:
            return None
        if self._retrying >= RETRY_WORKERS:
            return RETRY_LATER_S
        return remaining(record.retry_at)

    async def _attempt(
        self, key: PodKey, pod: Pod, record: PodRecord, device: Device, profile: DeviceProfile
    ) -> float | None:
        """One attempt, and what came of it in the pod's status."""
        revision = device.revision
        before = service_of(pod, self._runtime.services(device.endpoint))
        retry = record.failure is not None
        if before is None and record.failure is not None and record.failure.is_start:
            record.starts = record.count(pod, None) + 1
        self._retrying += retry
        delay_s: float | None = None
        try:
            async with asyncio.timeout(None) as record.attempt:
                deployed = await self._deployer.attempt(pod, device, profile, before)
            self._note_success(pod, record, device, deployed, before)
        except PodFailureError as error:
            now = asyncio.get_running_loop().time()
            delay_s = record.fail(error.failure, now=now, revision=revision)
            self._note_failure(pod, record.failure or error.failure)
        except TimeoutError:
            if record.attempt is None or not record.attempt.expired():
                raise
            log.info("deployment called off", pod=key)
            return None
        finally:
            self._retrying -= retry
            record.attempt = None
        if device.online:
            service = service_of(pod, self._runtime.services(device.endpoint))
            await self._writer.report(key, record, device, service)
        return delay_s if record.failure is None or record.failure.retryable else None

    def _note_success(
        self, pod: Pod, record: PodRecord, device: Device, deployed: Deployed, before: ServiceStatus | None
    ) -> None:
        artifact = deployed.artifact
        record.digest = artifact.digest
        record.metadata = service_metadata(artifact, deployed.service.instance)
        record.succeed()
        if not deployed.fresh:
            return
        if before is not None and before.digest != artifact.digest:
            record.starts = record.count(pod, before) + 1
        name, version = artifact.manifest.name, artifact.manifest.version
        log.info("service started", pod=pod.metadata.name, device=device.endpoint, service=name, version=version)
        self._events.note(pod, "Started", f"Started service {name} version {version} on device {device.endpoint}")

    def _note_failure(self, pod: Pod, failure: Failure) -> None:
        self._metrics.failures.labels(failure.reason).inc()
        self._events.warn(pod, failure.reason, failure.message)
        log.info("pod does not run", pod=pod.metadata.name, reason=failure.reason, error=failure.message)

    async def _finish(self, key: PodKey, pod: Pod, record: PodRecord, device: Device) -> float | None:
        """Remove the pod's service, then the pod. A device that is away keeps a pod that was on it."""
        record.running = False
        if previous_container(pod).container_id and not device.online:
            if device.presence is Presence.LOST:
                await self._writer.lose(key, record, device)
            return None
        delay_s = await self._remove(pod, device)
        if delay_s is not None:
            return delay_s
        metadata = pod.metadata
        try:
            async with api_deadline():
                await self._client.delete(
                    PODS, metadata.name, namespace=metadata.namespace, uid=metadata.uid, grace_period_seconds=0
                )
        except (NotFoundError, ConflictError):
            log.debug("pod gone already", pod=metadata.name)
        return None

    async def _remove(self, pod: Pod, device: Device) -> float | None:
        """Take the pod's service off its device if it is there; returns when to try again if that failed."""
        service = service_of(pod, self._runtime.services(device.endpoint)) if device.online else None
        if service is None:
            return None
        self._events.note(pod, "Killing", f"Stopping service {service.name} on device {device.endpoint}")
        try:
            await self._deployer.remove(device, service.instance)
        except PodFailureError as error:
            self._events.warn(pod, "FailedKillPod", error.failure.message)
            return BACKOFF_INITIAL_S
        self.room_made(device)
        return None


def _is_wanted(pod: Pod | None, record: PodRecord) -> bool:
    """Whether the pod is still to run, with the image that is being worked on."""
    if pod is None or pod.metadata.deletion_timestamp is not None or pod.metadata.uid != record.uid:
        return False
    return pod.spec.containers[0].image == record.image


def _is_current(record: PodRecord, service: ServiceStatus) -> bool:
    return bool(record.digest) and service.digest == record.digest and service.phase in ALIVE


def _is_admitted(pod: Pod) -> bool:
    return pod.status.start_time is not None and pod.status.phase not in TERMINAL_PHASES
