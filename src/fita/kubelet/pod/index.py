"""The pods of the cluster by node and by uid, kept beside the informer that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fita.kube.informer import Informer
from fita.model.kubernetes import Pod
from fita.model.runtime import ServiceStatus, WorkloadId

PodKey = str
"""``namespace/name``."""


class PodIndex:
    """Finds pods fast. One watch serves all nodes: a thousand devices cost the API server no more than one."""

    def __init__(self, informer: Informer[Pod]) -> None:
        self._informer = informer
        self._by_node: dict[str, dict[PodKey, None]] = {}
        self._by_uid: dict[str, PodKey] = {}
        informer.add_listener(self._changed)

    def get(self, key: PodKey) -> Pod | None:
        return self._informer.get(key)

    def on_node(self, node: str) -> Iterator[tuple[PodKey, Pod]]:
        """The pods bound to `node`, as they are now."""
        for key in list(self._by_node.get(node, ())):
            if (pod := self._informer.get(key)) is not None:
                yield key, pod

    def of_workload(self, workload: WorkloadId) -> Pod | None:
        """The pod that a service on a device was deployed for."""
        key = self._by_uid.get(workload.partition("/")[0])
        return None if key is None else self._informer.get(key)

    def _changed(self, key: PodKey, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is None:
            self._by_uid.pop(old.metadata.uid, None)
            keys = self._by_node.get(old.spec.node_name, {})
            keys.pop(key, None)
            if not keys:
                self._by_node.pop(old.spec.node_name, None)
        if new is not None and old is None:
            self._by_uid[new.metadata.uid] = key
            self._by_node.setdefault(new.spec.node_name, {})[key] = None


def service_of(pod: Pod, services: Mapping[int, ServiceStatus]) -> ServiceStatus | None:
    """The service that runs for `pod`, among those on its device."""
    workload = workload_of(pod)
    return next((service for service in services.values() if service.workload == workload), None)


def workload_of(pod: Pod) -> WorkloadId:
    """``<pod uid>/<container>``: what the device stores with the pod's service."""
    return WorkloadId(f"{pod.metadata.uid}/{pod.spec.containers[0].name}")
