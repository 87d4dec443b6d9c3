"""What a pod says about its service in annotations, in FITA's public form."""

from __future__ import annotations

import msgspec

from fita.kubelet.device import Device
from fita.model import wellknown
from fita.model.service import ServiceArtifact


def service_metadata(artifact: ServiceArtifact, instance: int) -> str:
    """A JSON list with the manifest of the service and its ``id`` on the device."""
    manifest = {**msgspec.to_builtins(artifact.manifest), "id": instance}
    return msgspec.json.encode([manifest]).decode()


def pod_annotations(device: Device, metadata: str) -> dict[str, str]:
    """The annotations of a pod whose service is on `device`. Empty `metadata` leaves what the pod says."""
    annotations = {
        wellknown.ANNOTATION_RUNTIME: wellknown.RUNTIME_EMBSERVE,
        wellknown.ANNOTATION_NODE_ID: device.endpoint,
    }
    if device.profile is not None:
        annotations[wellknown.ANNOTATION_ADDRESS] = device.profile.address
    if metadata:
        annotations[wellknown.ANNOTATION_SERVICE_METADATA] = metadata
    return annotations
