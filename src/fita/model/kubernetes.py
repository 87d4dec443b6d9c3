"""The subset of Kubernetes objects that FITA reads, typed. Unknown fields are ignored, writing is by PATCH.

Source: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import msgspec

KUBERNETES_VERSION = "v1.36.3"
"""The Kubernetes whose kubelet FITA follows: that of ``controlplane/go.mod``, as a test checks."""


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []


class KeySelector(msgspec.Struct, frozen=True):
    """A key of a Secret or a ConfigMap."""

    name: str = ""
    key: str = ""
    optional: bool = False


class ObjectFieldSelector(msgspec.Struct, frozen=True, rename="camel"):
    field_path: str = ""


class ResourceFieldSelector(msgspec.Struct, frozen=True, rename="camel"):
    resource: str = ""
    divisor: str | int | float = ""


class EnvVarSource(msgspec.Struct, frozen=True, rename="camel"):
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None


class EnvVar(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvSourceRef(msgspec.Struct, frozen=True):
    name: str = ""
    optional: bool = False


class EnvFromSource(msgspec.Struct, frozen=True, rename="camel"):
    prefix: str = ""
    config_map_ref: EnvSourceRef | None = None
    secret_ref: EnvSourceRef | None = None


class VolumeMount(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    mount_path: str = ""


class Presence(msgspec.Struct, frozen=True):
    """An object of which only matters whether it is there."""


class ResourceRequirements(msgspec.Struct, frozen=True):
    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Container(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    image: str = ""
    image_pull_policy: str = ""
    env: list[EnvVar] = []
    env_from: list[EnvFromSource] = []
    resources: ResourceRequirements = ResourceRequirements()
    command: list[str] = []
    args: list[str] = []
    volume_mounts: list[VolumeMount] = []
    liveness_probe: Presence | None = None
    readiness_probe: Presence | None = None
    startup_probe: Presence | None = None
    lifecycle: Presence | None = None


class LocalObjectReference(msgspec.Struct, frozen=True):
    name: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    node_name: str = ""
    containers: list[Container] = []
    init_containers: list[Container] = []
    restart_policy: str = "Always"
    service_account_name: str = ""
    host_network: bool = False
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
    host_ip: str = msgspec.field(default="", name="hostIP")


class Pod(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Taint(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    key: str
    effect: str
    value: str = ""


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


class NodeAddress(msgspec.Struct, frozen=True):
    type: str = ""
    address: str = ""


class NodeSystemInfo(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    machine_id: str = msgspec.field(default="", name="machineID")
    system_uuid: str = msgspec.field(default="", name="systemUUID")
    boot_id: str = msgspec.field(default="", name="bootID")
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    operating_system: str = ""
    architecture: str = ""


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    capacity: dict[str, str | int | float] = {}
    allocatable: dict[str, str | int | float] = {}
    conditions: list[NodeCondition] = []
    addresses: list[NodeAddress] = []
    node_info: NodeSystemInfo = NodeSystemInfo()


class Node(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
