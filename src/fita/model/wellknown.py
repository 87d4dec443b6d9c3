"""Every label, annotation, taint, condition, resource and reason name. They are written nowhere else.

The names under ``fhp`` are FITA's public forms; existing manifests depend on them.
"""

from __future__ import annotations

# Taint and labels of a far-edge node
TAINT_KEY = "fita.fhp.pt/type"
TAINT_VALUE = "far-edge"
TAINT_EFFECT = "NoSchedule"
LABEL_CAPABILITY_PREFIX = "extra.resources.fhp/"
LABEL_RUNTIME_EMBSERVE = LABEL_CAPABILITY_PREFIX + "embserve"
LABEL_EXCLUDE_LOAD_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"
LABEL_HOSTNAME = "kubernetes.io/hostname"
LABEL_OS = "kubernetes.io/os"
LABEL_ARCH = "kubernetes.io/arch"
LABEL_GATEWAY = "fita.fhp.pt/gateway"

# Annotations of nodes and pods
ANNOTATION_ADDRESS = "embserve.fhp.pt/address"
ANNOTATION_RUNTIME = "embserve.fhp.pt/runtime"
ANNOTATION_NODE_ID = "embserve.fhp.pt/nodeId"
ANNOTATION_SERVICE_METADATA = "embserve.fhp.pt/serviceMetadata"
ANNOTATION_API_VERSION = "fita.fhp.pt/api-version"
ANNOTATION_REGISTERED_AT = "fita.fhp.pt/registered-at"
ANNOTATION_LIFETIME = "fita.fhp.pt/lifetime-seconds"
ANNOTATION_CAPABILITIES = "fita.fhp.pt/capabilities"
RUNTIME_EMBSERVE = "embserve"

# Conditions of nodes
CONDITION_READY = "Ready"
CONDITION_ASLEEP = "Asleep"

# Conditions of pods: Kubernetes' own, and whether the service runs the image that the pod asks for
CONDITION_POD_SCHEDULED = "PodScheduled"
CONDITION_INITIALIZED = "Initialized"
CONDITION_CONTAINERS_READY = "ContainersReady"
CONDITION_IMAGE_CURRENT = "fita.fhp.pt/ImageCurrent"

# The namespace of nodes' leases
NAMESPACE_NODE_LEASE = "kube-node-lease"

# FITA's own API group
GROUP = "fita.fhp.pt"
GROUP_VERSION = "v1alpha1"

FIELD_MANAGER = "fita-gateway"
FIELD_MANAGER_CLI = "fita-cli"
