"""The objects of `fakes.api_server`: versions, history, patches and deletion as the real API server has them.

No I/O. Admission, validation and controllers do not exist here: what a test stores is what it gets.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fita.kube.client import PatchStrategy
from fita.kube.resource import DEVICES, NODES, PODS, RawObject, Resource

# Lists that a strategic merge patch merges by a key; all others are replaced.
MERGE_KEYS = {
    "conditions": "type",
    "addresses": "type",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
}
MERGED_SETS = frozenset({"finalizers"})
WITH_STATUS = frozenset({PODS, NODES, DEVICES})
DEFAULT_GRACE_PERIOD_S = 30
NOW = "2026-01-02T03:04:05Z"


class StoreError(Exception):
    """What the API server answers instead of an object."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: str = "", field: str = "") -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.retry_after, self.field = retry_after, field


class Change(NamedTuple):
    """One line of the history: the object before (None: new) and after (None: gone; `before` is its end)."""

    version: int
    resource: Resource
    before: RawObject | None
    after: RawObject | None


class Id(NamedTuple):
    resource: Resource
    namespace: str
    name: str


@dataclass
class ObjectStore:
    """Objects by resource, namespace and name. `on_change` is called after every change."""

    on_change: Callable[[], None]
    objects: dict[Id, RawObject] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    forgotten_version: int = 0
    version: int = 100
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, id_: Id) -> RawObject:
        if id_ not in self.objects:
            plural = id_.resource.plural
            raise StoreError(404, "NotFound", f'{plural} "{id_.name}" not found')
        return self.objects[id_]

    def list(self, resource: Resource, namespace: str) -> list[RawObject]:
        """In the order of their keys, as etcd has them."""
        found = [id_ for id_ in self.objects if id_.resource == resource and namespace in ("", id_.namespace)]
        return [self.objects[id_] for id_ in sorted(found, key=lambda id_: (id_.namespace, id_.name))]

    def create(self, resource: Resource, namespace: str, body: RawObject) -> RawObject:
        new = copy.deepcopy(body)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name"):
            metadata["name"] = f"{metadata.get('generateName', 'unnamed-')}{next(self._names):05x}"
        if metadata.get("namespace", namespace) != namespace:
            raise StoreError(400, "BadRequest", "the namespace of the object does not match that of the request")
        id_ = Id(resource, namespace, metadata["name"])
        if id_ in self.objects:
            raise StoreError(409, "AlreadyExists", f'{resource.plural} "{id_.name}" already exists')
        new |= {"apiVersion": resource.api_version, "kind": resource.kind}
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": NOW, "generation": 1}
        if namespace:
            metadata["namespace"] = namespace
        if resource == PODS:
            new["status"] = {"phase": "Pending"}
        elif resource == DEVICES:
            new.pop("status", None)
        return self._store(id_, new)

    def patch(self, id_: Id, body: Any, strategy: PatchStrategy, subresource: str = "") -> RawObject:
        if strategy is PatchStrategy.APPLY and id_ not in self.objects:
            return self.create(id_.resource, id_.namespace, body)
        old = self.get(id_)
        if isinstance(body, dict):
            _check_preconditions(old, body.get("metadata", {}))
        new = patched(old, body, strategy)
        if subresource == "status":
            # For nodes and pods labels and annotations come along, for custom resources they do not.
            metadata = new["metadata"] if id_.resource in (NODES, PODS) else old["metadata"]
            new = {**old, "metadata": metadata, "status": new.get("status", {})}
        elif id_.resource in WITH_STATUS:
            new["status"] = old.get("status", {})
        new["metadata"] = {**new["metadata"], **_fixed(old["metadata"])}
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        if new == old:
            return old
        return self._store(id_, new)

    def replace(self, id_: Id, body: RawObject) -> RawObject:
        """Make the object `body`, but for what the server owns; a status that is not given stays."""
        old = self.get(id_)
        new = {"status": old["status"], **copy.deepcopy(body)} if "status" in old else copy.deepcopy(body)
        new |= {"apiVersion": old["apiVersion"], "kind": old["kind"]}
        new["metadata"] |= _fixed(old["metadata"])
        return old if new == old else self._store(id_, new)

    def delete(self, id_: Id, *, uid: str = "", grace_period_s: int | None = None) -> RawObject:
        old = self.get(id_)
        if uid and uid != old["metadata"]["uid"]:
            raise StoreError(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        new = copy.deepcopy(old)
        metadata = new["metadata"]
        grace_s = _grace_period_s(new, grace_period_s) if id_.resource == PODS else 0
        if not grace_s and not metadata.get("finalizers"):
            return self._remove(id_)
        metadata.setdefault("deletionTimestamp", NOW)
        metadata["deletionGracePeriodSeconds"] = grace_s
        return old if new == old else self._store(id_, new)

    def changes_since(self, version: int) -> list[Change]:
        """Raises the 410 of a version that is forgotten."""
        if version < self.forgotten_version:
            raise StoreError(410, "Expired", f"too old resource version: {version} ({self.forgotten_version})")
        return [change for change in self.history if change.version > version]

    def forget_history(self) -> None:
        self.version += 1
        self.forgotten_version = self.version
        self.history.clear()

    def _store(self, id_: Id, new: RawObject) -> RawObject:
        metadata = new["metadata"]
        done = metadata.get("deletionTimestamp") and not metadata.get("deletionGracePeriodSeconds")
        if done and not metadata.get("finalizers"):
            self.objects[id_] = new
            return self._remove(id_)
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, id_.resource, self.objects.get(id_), copy.deepcopy(new)))
        self.objects[id_] = new
        self.on_change()
        return new

    def _remove(self, id_: Id) -> RawObject:
        self.version += 1
        last = copy.deepcopy(self.objects.pop(id_))
        last["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, id_.resource, last, None))
        self.on_change()
        return last


def _fixed(metadata: RawObject) -> RawObject:
    """What no patch changes."""
    names = ("name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation")
    kept = {name: metadata[name] for name in names if name in metadata}
    return kept | {name: value for name, value in metadata.items() if name.startswith("deletion")}


def _check_preconditions(old: RawObject, metadata: RawObject) -> None:
    if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
        raise StoreError(422, "Invalid", "metadata.uid: field is immutable", field="metadata.uid")
    if metadata.get("resourceVersion", old["metadata"]["resourceVersion"]) != old["metadata"]["resourceVersion"]:
        raise StoreError(409, "Conflict", "the object has been modified; please apply your changes to the latest")


def _grace_period_s(pod: RawObject, asked_s: int | None) -> int:
    """A pod that no node has is deleted at once."""
    if not pod.get("spec", {}).get("nodeName"):
        return 0
    if asked_s is not None:
        return asked_s
    return pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_PERIOD_S)


def patched(old: RawObject, body: Any, strategy: PatchStrategy) -> RawObject:
    new = copy.deepcopy(old)
    match strategy:
        case PatchStrategy.MERGE:
            return _merged(new, body)
        case PatchStrategy.STRATEGIC | PatchStrategy.APPLY:
            return _strategically_merged(new, body)
        case PatchStrategy.JSON:
            for operation in body:
                _operate(new, operation)
            return new


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _strategically_merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            listed = name.partition("/")[2]
            result[listed] = [item for item in result.get(listed, []) if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            result.pop(name, None)
        elif name in MERGED_SETS:
            result[name] = list(dict.fromkeys([*result.get(name, []), *value]))
        elif name in MERGE_KEYS and isinstance(value, list):
            result[name] = _merged_list(result.get(name, []), value, MERGE_KEYS[name])
        else:
            result[name] = _strategically_merged(result.get(name), value)
    return result


def _merged_list(old: list[RawObject], patch: list[RawObject], key: str) -> list[RawObject]:
    result = {item[key]: item for item in old}
    for item in patch:
        if item.get("$patch") == "delete":
            result.pop(item[key], None)
        else:
            result[item[key]] = _strategically_merged(result.get(item[key]), item)
    return list(result.values())


def _operate(target: Any, operation: RawObject) -> None:
    """RFC 6902 without move and copy."""
    path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    try:
        for part in path[:-1]:
            target = target[_index(target, part)]
        index = _index(target, path[-1])
        match operation["op"]:
            case "add" if isinstance(target, list):
                target.insert(index, operation["value"])
            case "add" | "replace":
                target[index] = operation["value"]
            case "remove":
                del target[index]
            case "test" if target[index] != operation["value"]:
                raise StoreError(422, "Invalid", f"testing {operation['path']} failed")
    except (KeyError, IndexError) as error:
        raise StoreError(422, "Invalid", f"there is nothing at {operation['path']}") from error


def _index(target: Any, part: str) -> Any:
    if not isinstance(target, list):
        return part
    return len(target) if part == "-" else int(part)
