"""Events about pods: what ``kubectl describe`` shows below the status."""

from __future__ import annotations

from fita.kube.event import EventRecorder, ObjectReference, reference
from fita.kube.resource import PODS
from fita.model.kubernetes import Pod


class PodEvents:
    """Records what happens to a pod's container, in a kubelet's words where it has one."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def note(self, pod: Pod, reason: str, message: str) -> None:
        """Something went as it should."""
        self._recorder.record(_about(pod), reason=reason, message=message)

    def warn(self, pod: Pod, reason: str, message: str) -> None:
        """Something did not."""
        self._recorder.record(_about(pod), type_="Warning", reason=reason, message=message)


def _about(pod: Pod) -> ObjectReference:
    field_path = f"spec.containers{{{pod.spec.containers[0].name}}}" if pod.spec.containers else ""
    return reference(PODS, pod.metadata, field_path=field_path)
