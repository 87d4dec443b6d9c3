"""What `deploy/rbac.yaml` lets the gateway do, for fake API servers to hold it to that."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from fakes.object_store import Id
from fita.base.resource import resource_folder

Right = tuple[str, str]
"""Verb and resource, like ``("patch", "pods/status")``."""


@dataclass
class Rights:
    """`granted` maps a right to the namespace it is limited to (empty: everywhere); `used` was asked for."""

    granted: dict[Right, str]
    used: set[Right] = field(default_factory=set)

    def allow(self, verb: str, id_: Id, subresource: str) -> bool:
        right = (verb, id_.resource.plural + (f"/{subresource}" if subresource else ""))
        self.used.add(right)
        return right in self.granted and self.granted[right] in ("", id_.namespace)


def gateway_rights() -> Rights:
    """The rules of every Role and ClusterRole in the file."""
    granted: dict[Right, str] = {}
    text = (resource_folder("deploy") / "rbac.yaml").read_text(encoding="utf-8")
    for document in yaml.safe_load_all(text):
        for rule in document.get("rules", ()):
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    granted[verb, resource] = document["metadata"].get("namespace", "")
    return Rights(granted)
