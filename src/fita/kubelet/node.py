"""A device as a Node: pure functions from what the device says of itself to what Kubernetes stores.

What others wrote on a node stays: their labels and annotations, their taints, and whether it is cordoned. The
taint is set when the node is made and never again, as by a kubelet's ``--register-with-taints``.

Source: https://kubernetes.io/docs/reference/node/node-status/ and
https://kubernetes.io/docs/reference/labels-annotations-taints/
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from fita import __version__
from fita.base.clock import rfc3339
from fita.kube.resource import RawObject
from fita.model import wellknown
from fita.model.device import DeviceProfile, Endpoint
from fita.model.kubernetes import KUBERNETES_VERSION, Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo
from fita.model.quantity import format_bytes, parse_quantity

KUBELET_VERSION = f"{KUBERNETES_VERSION}-fita{__version__}"
"""The Kubernetes version whose kubelet this one follows, and FITA's own."""

REASON_REGISTERED = "DeviceRegistered"
REASON_LOST = "DeviceLost"
REASON_QUEUE_MODE = "QueueMode"

MAX_NAME_CHARACTERS = 63
"""A node's name is also the value of its label ``kubernetes.io/hostname``."""


Quantities = Mapping[str, str | int | float]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "the device refuses what does not fit its memory"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "the device refuses what does not fit its flash"),
    ("PIDPressure", "KubeletHasSufficientPID", "the device has no processes"),
)


_ASLEEP = NodeCondition(
    type=wellknown.CONDITION_ASLEEP,
    status="True",
    reason=REASON_QUEUE_MODE,
    message="the device sleeps between its updates; what it is to do waits for the next one",
)
_AWAKE = NodeCondition(
    type=wellknown.CONDITION_ASLEEP,
    status="False",
    reason="AlwaysOn",
    message="the device sleeps no more",
)


class NodeForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a device's node must say, apart from its conditions."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    status: NodeStatus


def node_name(gateway_name: str, endpoint: Endpoint) -> str:
    """``<gateway>-<endpoint>``, lower case, ``_`` and whatever else a name may not hold as ``-``.

    A name that would be too long is cut and ends in eight digits of the endpoint's hash. Two endpoints may get
    the same name (``a_b`` and ``a-b``): the kubelet refuses the second.
    """
    name = re.sub(r"[^a-z0-9.-]+", "-", f"{gateway_name}-{endpoint}".lower())
    if not _SUBDOMAIN.fullmatch(name):
        name = re.sub(r"-+", "-", name.replace(".", "-")).strip("-")
    if len(name) > MAX_NAME_CHARACTERS:
        digest = hashlib.sha256(endpoint.encode()).hexdigest()[:8]
        name = f"{name[: MAX_NAME_CHARACTERS - 9].rstrip('-.')}-{digest}"
    return name


def host_of(address: str) -> str:
    """The host in ``host:port``, where an IPv6 host may stand in brackets."""
    host = address.rpartition(":")[0] if address.count(":") == 1 or address.startswith("[") else address
    return host.strip("[]")


def ip_of(address: str) -> str:
    """The host in ``host:port`` if it is an IP address that an object of Kubernetes may hold; else empty."""
    try:
        return str(ipaddress.ip_address(host_of(address).partition("%")[0]))
    except ValueError:
        return ""


def describe_node(profile: DeviceProfile, *, gateway_name: str) -> NodeForm:
    """What the node of the device `profile` must say."""
    name = node_name(gateway_name, profile.endpoint)
    return NodeForm(
        name=name,
        labels=_labels(profile, name=name, gateway_name=gateway_name),
        annotations=_annotations(profile),
        status=_status(profile, name=name),
    )


def capability_labels(capabilities: Iterable[str]) -> dict[str, str]:
    """``extra.resources.fhp/<capability>="true"``; what no label can hold is replaced or left out."""
    names = (_label_text(capability) for capability in capabilities)
    return {wellknown.LABEL_CAPABILITY_PREFIX + name: "true" for name in names if name}


def _labels(profile: DeviceProfile, *, name: str, gateway_name: str) -> dict[str, str]:
    return {
        wellknown.LABEL_HOSTNAME: name,
        wellknown.LABEL_OS: _label_text(profile.platform.os),
        wellknown.LABEL_ARCH: _label_text(profile.platform.kubernetes_architecture),
        wellknown.LABEL_GATEWAY: gateway_name,
        wellknown.LABEL_EXCLUDE_LOAD_BALANCERS: "true",
        wellknown.LABEL_RUNTIME_EMBSERVE: "true",
        **capability_labels(profile.capabilities),
    }


def _annotations(profile: DeviceProfile) -> dict[str, str]:
    annotations = {
        wellknown.ANNOTATION_ADDRESS: profile.address,
        wellknown.ANNOTATION_RUNTIME: wellknown.RUNTIME_EMBSERVE,
        wellknown.ANNOTATION_NODE_ID: profile.endpoint,
        wellknown.ANNOTATION_API_VERSION: str(profile.api_version),
        wellknown.ANNOTATION_LIFETIME: str(profile.lifetime_s),
        wellknown.ANNOTATION_CAPABILITIES: ",".join(
            key.removeprefix(wellknown.LABEL_CAPABILITY_PREFIX) for key in capability_labels(profile.capabilities)
        ),
    }
    if profile.registered_at is not None:
        annotations[wellknown.ANNOTATION_REGISTERED_AT] = rfc3339(profile.registered_at)
    return annotations


def _status(profile: DeviceProfile, *, name: str) -> NodeStatus:
    shared: dict[str, str | int | float] = {
        "cpu": f"{profile.cpu_millicores}m",
        "ephemeral-storage": format_bytes(profile.storage_bytes),
        "pods": str(profile.max_services),
    }
    addresses = [NodeAddress("Hostname", name)]
    if ip := ip_of(profile.address):
        addresses.insert(0, NodeAddress("InternalIP", ip))
    return NodeStatus(
        capacity={**shared, "memory": format_bytes(profile.memory_bytes)},
        allocatable={**shared, "memory": format_bytes(profile.service_memory_bytes)},
        addresses=addresses,
        node_info=_system_info(profile),
    )


def _system_info(profile: DeviceProfile) -> NodeSystemInfo:
    model = " ".join(part for part in (profile.manufacturer, profile.model) if part)
    return NodeSystemInfo(
        machine_id=profile.serial_number,
        system_uuid=profile.serial_number,
        kernel_version=profile.firmware_version,
        os_image=model or profile.platform.os,
        container_runtime_version=f"{profile.platform.os}://{profile.runtime_version or profile.platform.variant}",
        kubelet_version=KUBELET_VERSION,
        operating_system=profile.platform.os,
        architecture=profile.platform.kubernetes_architecture,
    )


def ready_conditions(profile: DeviceProfile) -> list[NodeCondition]:
    """The conditions of a node whose device's registration is alive; one in queue mode sleeps and is ready."""
    conditions = [
        NodeCondition(
            type=wellknown.CONDITION_READY,
            status="True",
            reason=REASON_REGISTERED,
            message="the device's registration is alive",
        ),
        *(
            NodeCondition(type=kind, status="False", reason=reason, message=text)
            for kind, reason, text in _PRESSURES
        ),
    ]
    if profile.queue_mode:
        conditions.append(_ASLEEP)
    return conditions


def lost_conditions(message: str) -> list[NodeCondition]:
    """The conditions of a node whose device is gone: nobody knows."""
    kinds = (wellknown.CONDITION_READY, *(kind for kind, _, _ in _PRESSURES))
    return [NodeCondition(type=kind, status="Unknown", reason=REASON_LOST, message=message) for kind in kinds]


def node_manifest(form: NodeForm, conditions: list[NodeCondition], *, now: datetime) -> RawObject:
    """The node as it is made: with the taint that keeps ordinary pods away."""
    taint = {"key": wellknown.TAINT_KEY, "value": wellknown.TAINT_VALUE, "effect": wellknown.TAINT_EFFECT}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": form.name, "labels": form.labels, "annotations": form.annotations},
        "spec": {"taints": [taint]},
        "status": {**_status_body(form.status), "conditions": merge_conditions([], conditions, now=now)},
    }


def node_patch(node: Node, form: NodeForm, conditions: list[NodeCondition], *, now: datetime) -> RawObject:
    """What is to change about `node`, as a strategic merge patch of its status and metadata; empty: nothing.

    A capability label is taken away when it was the device's (it is in the annotation) and is not any more.
    """
    labels: dict[str, str | None] = {
        key: value for key, value in form.labels.items() if node.metadata.labels.get(key) != value
    }
    labels.update(dict.fromkeys(_vanished(node, form), None))
    annotations = {
        key: value for key, value in form.annotations.items() if node.metadata.annotations.get(key) != value
    }
    metadata = {key: value for key, value in (("labels", labels), ("annotations", annotations)) if value}
    status = _status_changes(node.status, form.status)
    if changed := merge_conditions(node.status.conditions, conditions, now=now):
        status["conditions"] = changed
    body: RawObject = {"metadata": metadata} if metadata else {}
    return {**body, "status": status} if status else body


def lost_patch(node: Node, message: str, *, now: datetime) -> RawObject:
    """What is to change about the node of a lost device; empty: nothing, because it says so already."""
    conditions = node.status.conditions
    wanted = lost_conditions(message)
    wanted += [condition for condition in conditions if condition.type == wellknown.CONDITION_ASLEEP]
    changed = merge_conditions(conditions, wanted, now=now)
    return {"status": {"conditions": changed}} if changed else {}


def merge_conditions(
    present: Iterable[NodeCondition], wanted: Iterable[NodeCondition], *, now: datetime
) -> list[RawObject]:
    """The conditions among `wanted` that are not `present`, complete with their times.

    A device that was asleep and of which `wanted` says nothing any more is awake.
    """
    by_type = {condition.type: condition for condition in present}
    target = {condition.type: condition for condition in wanted}
    if wellknown.CONDITION_ASLEEP in by_type:
        target.setdefault(wellknown.CONDITION_ASLEEP, _AWAKE)
    moment = rfc3339(now)
    changed: list[RawObject] = []
    for condition in target.values():
        before = by_type.get(condition.type)
        if before is not None and _said(before) == _said(condition):
            continue
        since = before.last_transition_time if before and before.status == condition.status else None
        changed.append({**_said(condition), "lastHeartbeatTime": moment, "lastTransitionTime": since or moment})
    return changed


def _said(condition: NodeCondition) -> dict[str, str]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
    }


def _vanished(node: Node, form: NodeForm) -> set[str]:
    before = node.metadata.annotations.get(wellknown.ANNOTATION_CAPABILITIES, "")
    labels = {wellknown.LABEL_CAPABILITY_PREFIX + name for name in before.split(",") if name}
    return (labels & node.metadata.labels.keys()) - form.labels.keys()


def _status_body(status: NodeStatus) -> RawObject:
    body: RawObject = msgspec.to_builtins(status)
    del body["conditions"]
    return body


def _status_changes(present: NodeStatus, wanted: NodeStatus) -> RawObject:
    changes: RawObject = {}
    for field in ("capacity", "allocatable"):
        if not _same_quantities(getattr(present, field), getattr(wanted, field)):
            changes[field] = getattr(wanted, field)
    if {*present.addresses} != {*wanted.addresses}:
        changes["addresses"] = msgspec.to_builtins(wanted.addresses)
    if present.node_info != wanted.node_info:
        changes["nodeInfo"] = msgspec.to_builtins(wanted.node_info)
    return changes


def _same_quantities(present: Quantities, wanted: Quantities) -> bool:
    """Whether every resource in `wanted` is in `present`, however written; others may have added resources."""
    return all(
        key in present and parse_quantity(present[key]) == parse_quantity(value) for key, value in wanted.items()
    )


def _label_text(text: str) -> str:
    """`text` as the value or the last part of a label, empty when nothing of it can be kept."""
    cut = re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:MAX_NAME_CHARACTERS].strip("._-")
    return cut if _LABEL.fullmatch(cut) else ""
