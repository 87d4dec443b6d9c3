"""Which kind of object a request is about, and its path at the API server."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from fita.model.wellknown import GROUP, GROUP_VERSION

RawObject: TypeAlias = dict[str, Any]
"""A Kubernetes object as decoded JSON: FITA does not know all fields of foreign objects, and drops none."""


class Resource(NamedTuple):
    """A resource of the API: ``Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)``."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """``v1`` or ``group/version``, as in an object's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of the collection, of one object, or of its subresource."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod", namespaced=True)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
EVENTS = Resource("", "v1", "events", "Event", namespaced=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
DEVICES = Resource(GROUP, GROUP_VERSION, "devices", "Device", namespaced=False)
