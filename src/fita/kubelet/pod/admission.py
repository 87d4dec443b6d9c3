"""Whether a device can take a pod: pure functions from pod, device and service to a refusal or nothing.

Only what kube-scheduler itself accounts for (requests against allocatable) makes a pod fail for good, as a
kubelet's admission does: no controller's next pod will be bound to the same place then. What the scheduler does
not know (a pod of two containers, a service for another platform, a device whose memory is full) leaves the pod
waiting with its reason, because a ReplicaSet would otherwise make new pods as fast as they are refused.

Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/lifecycle/predicate.go
"""

from __future__ import annotations

from collections.abc import Iterable

from fita.kubelet.pod.failure import Failure, PodReason
from fita.model.device import DeviceProfile, DeviceStats
from fita.model.kubernetes import Container, Pod
from fita.model.quantity import format_bytes, parse_bytes, parse_millicores
from fita.model.runtime import DeployReason, ServiceStatus
from fita.model.service import ServiceArtifact

TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})
SERVICE_ACCOUNT_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Every pod gets this volume unasked, so that it is no news that a device does not have it."""

PACKAGE_OVERHEAD_BYTES = 512
"""Header and check sum that a service's code has on the device."""

Usage = dict[str, int]
_REASONS = {
    "cpu": PodReason.OUT_OF_CPU,
    "memory": PodReason.OUT_OF_MEMORY,
    "ephemeral-storage": PodReason.OUT_OF_STORAGE,
    "pods": PodReason.OUT_OF_PODS,
}


def check_pod(pod: Pod) -> Failure | None:
    """Whether a device can run a pod of this form at all."""
    spec = pod.spec
    if len(spec.containers) != 1:
        return _unsupported(f"a device runs pods of one container, this pod has {len(spec.containers)}")
    if spec.init_containers:
        return _unsupported(
            "a device cannot run init containers; do in the service's setup what has to come first"
        )
    container = spec.containers[0]
    if container.command or container.args:
        return _unsupported("a service has no command and no arguments; give it an environment (env) instead")
    return None


def ignored_fields(pod: Pod) -> list[str]:
    """What the pod asks for that means nothing on a device: it runs without."""
    container = pod.spec.containers[0]
    probes = {
        "livenessProbe": container.liveness_probe,
        "readinessProbe": container.readiness_probe,
        "startupProbe": container.startup_probe,
        "lifecycle": container.lifecycle,
    }
    fields = [name for name, value in probes.items() if value is not None]
    fields += [
        f"volumeMounts {mount.mount_path}"
        for mount in container.volume_mounts
        if mount.mount_path != SERVICE_ACCOUNT_MOUNT
    ]
    return [*fields, "hostNetwork"] if pod.spec.host_network else fields


def requests_of(pod: Pod) -> Usage:
    """What kube-scheduler accounts for `pod`: bytes, millicores, and the pod itself."""
    usage: Usage = {"pods": 1, "cpu": 0, "memory": 0, "ephemeral-storage": 0}
    for container in pod.spec.containers:
        requests = {**container.resources.limits, **container.resources.requests}
        usage["cpu"] += parse_millicores(requests.get("cpu", 0))
        usage["memory"] += parse_bytes(requests.get("memory", 0))
        usage["ephemeral-storage"] += parse_bytes(requests.get("ephemeral-storage", 0))
    return usage


def check_capacity(pod: Pod, others: Iterable[Pod], profile: DeviceProfile) -> Failure | None:
    """Whether the requests of `pod` fit beside those of the `others` that the node has admitted."""
    used: Usage = {}
    for other in others:
        for resource, amount in requests_of(other).items():
            used[resource] = used.get(resource, 0) + amount
    allocatable: Usage = {
        "pods": profile.max_services,
        "cpu": profile.cpu_millicores,
        "memory": profile.service_memory_bytes,
        "ephemeral-storage": profile.storage_bytes,
    }
    for resource, amount in requests_of(pod).items():
        taken, room = used.get(resource, 0), allocatable[resource]
        if amount and taken + amount > room:
            return Failure(
                reason=_REASONS[resource],
                message=f"Node didn't have enough resource: {resource}, requested: {amount}, used: {taken}, "
                f"capacity: {room}",
                retryable=False,
                final=True,
            )
    return None


def check_artifact(artifact: ServiceArtifact, profile: DeviceProfile) -> Failure | None:
    """Whether a service is one for this device. Asks nothing of the device."""
    if not profile.platform.runs(artifact.platform):
        return Failure(
            reason=DeployReason.UNSUPPORTED_PLATFORM,
            message=f"{artifact.reference} is for {artifact.platform}, the device is {profile.platform}",
            retryable=False,
        )
    needed = artifact.manifest.dependencies.sdk_api
    if needed > profile.api_version:
        return Failure(
            reason=DeployReason.UNSUPPORTED_API_VERSION,
            message=f"{artifact.reference} needs version {needed} of the service API, the device has "
            f"{profile.api_version}: update the device, or build the service for the older version",
            retryable=False,
        )
    if missing := sorted(set(artifact.manifest.sensors) - set(profile.capabilities)):
        return Failure(
            reason=PodReason.MISSING_CAPABILITY,
            message=f"{artifact.reference} needs {', '.join(missing)}, which the device does not have: select "
            "nodes by their labels extra.resources.fhp/<capability>",
            retryable=False,
        )
    return None


def check_room(
    artifact: ServiceArtifact,
    *,
    need_bytes: int,
    profile: DeviceProfile,
    stats: DeviceStats,
    services: Iterable[ServiceStatus],
    replaced: ServiceStatus | None,
) -> Failure | None:
    """Whether the service fits beside what is on the device now. `replaced` makes room for it."""
    if replaced is None and len(list(services)) >= profile.max_services:
        return Failure(
            reason=DeployReason.TOO_MANY_SERVICES,
            message=f"the device runs {profile.max_services} services at most, and as many are on it",
        )
    if replaced is not None:
        return None  # the device knows whether old and new fit, or whether the old one has to go first
    size_bytes = len(artifact.binary) + PACKAGE_OVERHEAD_BYTES
    if stats.storage_free_bytes is not None and size_bytes > stats.storage_free_bytes:
        return Failure(
            reason=DeployReason.OUT_OF_STORAGE,
            message=f"{artifact.reference} needs {size_bytes} bytes of flash, {stats.storage_free_bytes} are free",
        )
    if stats.memory_free_bytes is not None and need_bytes > stats.memory_free_bytes:
        return Failure(
            reason=DeployReason.OUT_OF_MEMORY,
            message=f"{artifact.reference} needs {format_bytes(need_bytes)} of memory, "
            f"{format_bytes(stats.memory_free_bytes)} are free",
        )
    return None


def memory_limit(container: Container) -> int:
    """The heap quota of the container in bytes; 0: what the service's manifest asks for."""
    return parse_bytes(container.resources.limits.get("memory", 0))


def memory_need(container: Container, artifact: ServiceArtifact) -> int:
    """What has to be free for the service: its request, else its limit, else what its manifest asks for."""
    request = container.resources.requests.get("memory", 0)
    return parse_bytes(request) or memory_limit(container) or artifact.manifest.memory_bytes


def _unsupported(message: str) -> Failure:
    return Failure(reason=PodReason.UNSUPPORTED_POD, message=message, retryable=False)
