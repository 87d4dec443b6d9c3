"""A pod's status: a pure function of what its device says, and the patch that takes the stored status there.

Nothing is said that the device did not say. A service that is there and runs is Running and Ready; everything else
is waiting, with a reason. The phase never goes back, and times change only when what they are about changes.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from fita.base.clock import rfc3339
from fita.kube.resource import RawObject
from fita.kubelet.pod.failure import Failure, PodReason
from fita.model import wellknown
from fita.model.kubernetes import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodCondition,
    PodStatus,
)
from fita.model.runtime import ServicePhase, ServiceStatus

EXIT_CODE_CRASH = 1
EXIT_CODE_START = 128
"""What container runtimes give for a container that could not be started."""

RESTART_NEVER = "Never"
REASON_NOT_READY = "ContainersNotReady"
REASON_FAILED = "PodFailed"
_CREATING = ContainerStateWaiting(PodReason.CONTAINER_CREATING)


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """What the kubelet knows of a pod now.

    `service` is the pod's service as the device says it, None when it is not there. `image` and `image_id` are
    what it was made from; empty: what the status says already. `failure` is why the pod, or its new image, does
    not run. `starts` counts starts that the device does not: of services before this one, or that did not start.
    """

    service: ServiceStatus | None = None
    image: str = ""
    image_id: str = ""
    container_id: str = ""
    failure: Failure | None = None
    starts: int = 0
    address_ip: str = ""


def pod_status(pod: Pod, view: PodView, *, now: datetime) -> PodStatus:
    """The status of a pod whose device is there."""
    container = _container_status(pod, view, now=now)
    statuses = [container, *_other_containers(pod, view)]
    phase = _phase(pod, container)
    return PodStatus(
        phase=phase,
        start_time=pod.status.start_time or rfc3339(now),
        pod_ip=view.address_ip or pod.status.pod_ip,
        host_ip=view.address_ip or pod.status.host_ip,
        container_statuses=statuses,
        conditions=_with_times(pod, _conditions(pod, view, container, phase), now=now),
    )


def refused_status(pod: Pod, failure: Failure, *, now: datetime) -> PodStatus:
    """The status of a pod that the node does not admit: it has failed, as a kubelet says it."""
    return PodStatus(
        phase="Failed",
        reason=failure.reason,
        message=f"Pod was rejected: {failure.message}",
        start_time=pod.status.start_time or rfc3339(now),
        container_statuses=pod.status.container_statuses,
        conditions=pod.status.conditions,
    )


def lost_status(pod: Pod, message: str, *, now: datetime) -> PodStatus:
    """The status of a pod whose device is gone: not Ready. What it was when last heard of stays."""
    ready = [condition for condition in pod.status.conditions if condition.type == wellknown.CONDITION_READY]
    if not ready or ready[0].status != "True":
        return pod.status
    unready = _condition(wellknown.CONDITION_READY, False, PodReason.DEVICE_LOST, message)
    rest = [condition for condition in pod.status.conditions if condition.type != wellknown.CONDITION_READY]
    return msgspec.structs.replace(pod.status, conditions=[*rest, *_with_times(pod, [unready], now=now)])


def status_patch(pod: Pod, wanted: PodStatus) -> RawObject:
    """What is to change about the pod's status, as a strategic merge patch; empty: nothing.

    Conditions of others stay, because a strategic merge goes by their type.
    """
    changes: RawObject = {}
    for field, name in _FIELDS.items():
        value = getattr(wanted, field)
        if value != getattr(pod.status, field):
            changes[name] = msgspec.to_builtins(value)
    present = {condition.type: condition for condition in pod.status.conditions}
    conditions = [
        condition for condition in wanted.conditions if not _same_condition(present.get(condition.type), condition)
    ]
    if conditions:
        changes["conditions"] = msgspec.to_builtins(conditions)
    return changes


_FIELDS = {
    "phase": "phase",
    "reason": "reason",
    "message": "message",
    "start_time": "startTime",
    "pod_ip": "podIP",
    "host_ip": "hostIP",
    "container_statuses": "containerStatuses",
}


def _container_status(pod: Pod, view: PodView, *, now: datetime) -> ContainerStatus:
    """The status of the container that is the service."""
    container = pod.spec.containers[0]
    before = previous_container(pod)
    service = view.service
    count = view.starts + (service.restart_count if service else 0)
    state = _state(pod, before, view, count=count, now=now)
    last = before.last_state if state.terminated else _last_state(before, view, count=count, now=now)
    return ContainerStatus(
        name=container.name,
        state=state,
        last_state=last,
        ready=state.running is not None,
        started=state.running is not None,
        restart_count=count,
        image=view.image or before.image or container.image,
        image_id=view.image_id or before.image_id,
        container_id=view.container_id or before.container_id,
    )


def previous_container(pod: Pod) -> ContainerStatus:
    """The container's status as stored; an empty one when there is none."""
    name = pod.spec.containers[0].name
    for status in pod.status.container_statuses:
        if status.name == name:
            return status
    return ContainerStatus(name=name)


def is_crash_loop(state: ContainerState) -> bool:
    return state.waiting is not None and state.waiting.reason == PodReason.CRASH_LOOP_BACK_OFF


def _state(pod: Pod, before: ContainerStatus, view: PodView, *, count: int, now: datetime) -> ContainerState:
    service = view.service
    if service is None:
        return _absent_state(pod, view.failure, now=now)
    if has_failed(pod, service):
        return ContainerState(terminated=_crash(before, service.error, now=now))
    match service.phase:
        case ServicePhase.RUNNING:
            return ContainerState(running=_since(before, view, count=count, now=now))
        case ServicePhase.CRASHED:
            return ContainerState(waiting=_crash_loop(service.error))
        case ServicePhase.STARTING if is_crash_loop(before.state):
            return before.state
        case _:
            return ContainerState(waiting=_CREATING)


def _absent_state(pod: Pod, failure: Failure | None, *, now: datetime) -> ContainerState:
    """The state of a service that is not on the device."""
    if failure is None:
        return ContainerState(waiting=_CREATING)
    if failure.is_start and pod.spec.restart_policy == RESTART_NEVER:
        return ContainerState(terminated=_failed_start(failure, now=now))
    if failure.is_start:
        return ContainerState(waiting=_crash_loop(failure.message))
    return ContainerState(waiting=ContainerStateWaiting(failure.reason, failure.message))


def has_failed(pod: Pod, service: ServiceStatus) -> bool:
    """Whether a service that may not be started again has ended once."""
    return pod.spec.restart_policy == RESTART_NEVER and (
        service.phase is ServicePhase.CRASHED or service.restart_count > 0
    )


def _crash_loop(error: str) -> ContainerStateWaiting:
    return ContainerStateWaiting(
        PodReason.CRASH_LOOP_BACK_OFF, f"the service failed and is started again: {error}"
    )


def _since(before: ContainerStatus, view: PodView, *, count: int, now: datetime) -> ContainerStateRunning:
    """Since when it runs: as stored, unless it is another start."""
    service = view.service
    another = count != before.restart_count or (view.container_id or before.container_id) != before.container_id
    if before.state.running is not None and not another:
        return before.state.running
    uptime_s = service.uptime_s if service is not None and service.uptime_s else 0
    return ContainerStateRunning(rfc3339(now - timedelta(seconds=uptime_s)))


def _last_state(before: ContainerStatus, view: PodView, *, count: int, now: datetime) -> ContainerState:
    """How it ended last. A crash is new when the device counts one more, or when it did not crash before."""
    service, failure = view.service, view.failure
    if service is None:
        another = not is_crash_loop(before.state) or count > before.restart_count
        if failure is not None and failure.is_start and another:
            return ContainerState(terminated=_failed_start(failure, now=now))
        return before.last_state
    looping = is_crash_loop(before.state)
    more = count > before.restart_count and service.restart_count > 0
    crashed = service.phase is ServicePhase.CRASHED
    if (more and crashed) or (not looping and (more or crashed)):
        return ContainerState(terminated=_crash(before, service.error, now=now))
    return before.last_state


def _crash(before: ContainerStatus, error: str, *, now: datetime) -> ContainerStateTerminated:
    if before.state.terminated is not None:
        return before.state.terminated
    return ContainerStateTerminated(
        exit_code=EXIT_CODE_CRASH,
        reason=PodReason.ERROR,
        message=error,
        started_at=before.state.running.started_at if before.state.running else None,
        finished_at=rfc3339(now),
        container_id=before.container_id,
    )


def _failed_start(failure: Failure, *, now: datetime) -> ContainerStateTerminated:
    return ContainerStateTerminated(
        exit_code=EXIT_CODE_START,
        reason=failure.reason,
        message=failure.message,
        started_at=rfc3339(now),
        finished_at=rfc3339(now),
    )


def _other_containers(pod: Pod, view: PodView) -> list[ContainerStatus]:
    """Of a pod that a device cannot run: its other containers wait for the same reason."""
    failure = view.failure
    waiting = ContainerStateWaiting(failure.reason, failure.message) if failure else _CREATING
    return [
        ContainerStatus(name=container.name, image=container.image, state=ContainerState(waiting=waiting))
        for container in pod.spec.containers[1:]
    ]


def _phase(pod: Pod, container: ContainerStatus) -> str:
    """Once it ran it is Running, also while it is started again."""
    if container.state.terminated is not None:
        return "Failed"
    ran = container.state.running is not None or container.last_state.terminated is not None
    return "Running" if ran or pod.status.phase == "Running" else "Pending"


def _conditions(pod: Pod, view: PodView, container: ContainerStatus, phase: str) -> list[PodCondition]:
    unready = [status.name for status in [container, *_other_containers(pod, view)] if not status.ready]
    reason = REASON_FAILED if phase == "Failed" else REASON_NOT_READY
    message = f"containers with unready status: [{' '.join(unready)}]"
    conditions = [
        _condition(wellknown.CONDITION_POD_SCHEDULED, True),
        _condition(wellknown.CONDITION_INITIALIZED, True),
    ]
    for kind in (wellknown.CONDITION_CONTAINERS_READY, wellknown.CONDITION_READY):
        conditions.append(_condition(kind, not unready, reason, message) if unready else _condition(kind, True))
    if view.service is not None and view.failure is not None:
        conditions.append(
            _condition(wellknown.CONDITION_IMAGE_CURRENT, False, view.failure.reason, view.failure.message)
        )
    elif any(condition.type == wellknown.CONDITION_IMAGE_CURRENT for condition in pod.status.conditions):
        conditions.append(_condition(wellknown.CONDITION_IMAGE_CURRENT, True))
    return conditions


def _condition(kind: str, status: bool, reason: str = "", message: str = "") -> PodCondition:
    return PodCondition(type=kind, status=str(status), reason=reason, message=message)


def _with_times(pod: Pod, conditions: Iterable[PodCondition], *, now: datetime) -> list[PodCondition]:
    present = {condition.type: condition for condition in pod.status.conditions}
    timed = []
    for condition in conditions:
        before = present.get(condition.type)
        same = before is not None and before.status == condition.status
        since = before.last_transition_time if before is not None and same else rfc3339(now)
        timed.append(msgspec.structs.replace(condition, last_transition_time=since))
    return timed


def _same_condition(present: PodCondition | None, wanted: PodCondition) -> bool:
    return present is not None and (present.status, present.reason, present.message) == (
        wanted.status,
        wanted.reason,
        wanted.message,
    )
