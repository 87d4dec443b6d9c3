"""The subset of Kubernetes objects that FITA reads, typed. Unknown fields are ignored, writing is by PATCH.

Source: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import msgspec


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []


class SecretKeyRef(msgspec.Struct, frozen=True):
    name: str = ""
    key: str = ""
    optional: bool = False


class ObjectFieldSelector(msgspec.Struct, frozen=True, rename="camel"):
    field_path: str = ""


class EnvVarSource(msgspec.Struct, frozen=True, rename="camel"):
    config_map_key_ref: SecretKeyRef | None = None
    secret_key_ref: SecretKeyRef | None = None
    field_ref: ObjectFieldSelector | None = None


class EnvVar(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class ResourceRequirements(msgspec.Struct, frozen=True):
    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Container(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    image: str = ""
    image_pull_policy: str = ""
    env: list[EnvVar] = []
    resources: ResourceRequirements = ResourceRequirements()
    command: list[str] = []
    args: list[str] = []


class LocalObjectReference(msgspec.Struct, frozen=True):
    name: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    node_name: str = ""
    containers: list[Container] = []
    init_containers: list[Container] = []
    restart_policy: str = "Always"
    termination_grace_period_seconds: int | None = None
    image_pull_secrets: list[LocalObjectReference] = []


class ContainerStateWaiting(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(msgspec.Struct, frozen=True, rename="camel"):
    started_at: str | None = None


class ContainerStateTerminated(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = msgspec.field(default="", name="containerID")


class ContainerState(msgspec.Struct, frozen=True, omit_defaults=True):
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    container_id: str = msgspec.field(default="", name="containerID")
    started: bool | None = None


class PodCondition(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class PodStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: list[PodCondition] = []
    container_statuses: list[ContainerStatus] = []
    start_time: str | None = None
    pod_ip: str = msgspec.field(default="", name="podIP")


class Pod(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Taint(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class NodeSpec(msgspec.Struct, frozen=True):
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeCondition(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_heartbeat_time: str | None = None
    last_transition_time: str | None = None


class NodeStatus(msgspec.Struct, frozen=True):
    capacity: dict[str, str | int | float] = {}
    allocatable: dict[str, str | int | float] = {}
    conditions: list[NodeCondition] = []


class Node(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
