"""What the fake and the real API server must both do: each test of `CONTRACT` is run against either.

A test takes a client and a namespace of its own, which exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from fita.kube import client as client_module
from fita.kube.client import KubernetesClient, PatchStrategy
from fita.kube.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    InvalidError,
    NotFoundError,
)
from fita.kube.resource import CONFIG_MAPS, NODES, PODS, RawObject, Resource

Test = Callable[[KubernetesClient, str], Awaitable[None]]
CONTRACT: list[Test] = []


def contract(test: Test) -> Test:
    CONTRACT.append(test)
    return test


def config_map(name: str, *, labels: dict[str, str] | None = None, **data: str) -> RawObject:
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


def pod(name: str, *, node: str = "") -> RawObject:
    spec: RawObject = {"containers": [{"name": "main", "image": "fita.local/x:1"}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name}, "spec": spec}


def version_of(item: RawObject) -> str:
    return item["metadata"]["resourceVersion"]


@contract
async def creates_and_reads(client: KubernetesClient, namespace: str) -> None:
    created = await client.create(CONFIG_MAPS, config_map("a", x="1"), namespace=namespace)
    assert (created["kind"], created["apiVersion"]) == ("ConfigMap", "v1")
    assert created["metadata"]["namespace"] == namespace
    assert created["metadata"]["uid"]
    assert await client.get(CONFIG_MAPS, "a", namespace=namespace) == created
    with pytest.raises(AlreadyExistsError) as caught:
        await client.create(CONFIG_MAPS, config_map("a"), namespace=namespace)
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")
    assert 'configmaps "a" already exists' in caught.value.message
    with pytest.raises(NotFoundError) as missing:
        await client.get(CONFIG_MAPS, "b", namespace=namespace)
    assert (missing.value.status, missing.value.reason) == (404, "NotFound")
    assert 'configmaps "b" not found' in missing.value.message


@contract
async def generates_names(client: KubernetesClient, namespace: str) -> None:
    body = {"metadata": {"generateName": "made-"}}
    names = {(await client.create(CONFIG_MAPS, body, namespace=namespace))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("made-") and len(name) == 10 for name in names)


@contract
async def an_unknown_kind_is_not_found(client: KubernetesClient, namespace: str) -> None:
    things = Resource("nobody.example", "v1", "things", "Thing", namespaced=True)
    with pytest.raises(NotFoundError):
        await client.list(things, namespace=namespace)


@contract
async def a_merge_patch_removes_by_null(client: KubernetesClient, namespace: str) -> None:
    await client.create(CONFIG_MAPS, config_map("a", x="1", y="2"), namespace=namespace)
    changed = await client.patch(CONFIG_MAPS, "a", {"data": {"x": None, "z": "3"}}, namespace=namespace)
    assert changed["data"] == {"y": "2", "z": "3"}


@contract
async def a_patch_that_changes_nothing_makes_no_version(client: KubernetesClient, namespace: str) -> None:
    created = await client.create(CONFIG_MAPS, config_map("a", x="1"), namespace=namespace)
    changed = await client.patch(CONFIG_MAPS, "a", {"data": {"x": "2"}}, namespace=namespace)
    same = await client.patch(CONFIG_MAPS, "a", {"data": {"x": "2"}}, namespace=namespace)
    assert version_of(created) != version_of(changed)
    assert version_of(same) == version_of(changed)


@contract
async def a_json_patch_tests_and_changes(client: KubernetesClient, namespace: str) -> None:
    await client.create(CONFIG_MAPS, config_map("a", x="1"), namespace=namespace)
    operations = [
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "replace", "path": "/data/x", "value": "2"},
        {"op": "add", "path": "/data/y", "value": "3"},
    ]
    changed = await client.patch(CONFIG_MAPS, "a", operations, namespace=namespace, strategy=PatchStrategy.JSON)
    assert changed["data"] == {"x": "2", "y": "3"}
    with pytest.raises(InvalidError):
        await client.patch(CONFIG_MAPS, "a", operations, namespace=namespace, strategy=PatchStrategy.JSON)


@contract
async def an_apply_creates_and_changes(client: KubernetesClient, namespace: str) -> None:
    for value in ("1", "2"):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": value}}
        applied = await client.patch(
            CONFIG_MAPS, "a", body, namespace=namespace, strategy=PatchStrategy.APPLY, force=True
        )
        assert applied["data"] == {"x": value}


@contract
async def a_version_or_uid_in_a_patch_is_a_condition(client: KubernetesClient, namespace: str) -> None:
    created = await client.create(CONFIG_MAPS, config_map("a", x="1"), namespace=namespace)
    await client.patch(CONFIG_MAPS, "a", {"data": {"x": "2"}}, namespace=namespace)
    for metadata in ({"resourceVersion": version_of(created)}, {"uid": "another"}):
        with pytest.raises(ConflictError):
            await client.patch(CONFIG_MAPS, "a", {"metadata": metadata, "data": {"x": "3"}}, namespace=namespace)
    assert (await client.get(CONFIG_MAPS, "a", namespace=namespace))["data"] == {"x": "2"}


@contract
async def deletes_only_the_object_that_was_meant(client: KubernetesClient, namespace: str) -> None:
    created = await client.create(CONFIG_MAPS, config_map("a"), namespace=namespace)
    with pytest.raises(ConflictError):
        await client.delete(CONFIG_MAPS, "a", namespace=namespace, uid="another")
    await client.delete(CONFIG_MAPS, "a", namespace=namespace, uid=created["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        await client.delete(CONFIG_MAPS, "a", namespace=namespace)


@contract
async def finalizers_delay_a_deletion(client: KubernetesClient, namespace: str) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["fita.fhp.pt/test"]
    await client.create(CONFIG_MAPS, body, namespace=namespace)
    await client.delete(CONFIG_MAPS, "a", namespace=namespace)
    assert (await client.get(CONFIG_MAPS, "a", namespace=namespace))["metadata"]["deletionTimestamp"]
    await client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, namespace=namespace)
    with pytest.raises(NotFoundError):
        await client.get(CONFIG_MAPS, "a", namespace=namespace)


@contract
async def a_pod_on_a_node_is_deleted_in_two_steps(client: KubernetesClient, namespace: str) -> None:
    created = await client.create(PODS, pod("a", node="nowhere"), namespace=namespace)
    assert created["status"]["phase"] == "Pending"
    await client.delete(PODS, "a", namespace=namespace, grace_period_seconds=25)
    ending = await client.get(PODS, "a", namespace=namespace)
    assert ending["metadata"]["deletionTimestamp"]
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 25
    uid = ending["metadata"]["uid"]
    await client.delete(PODS, "a", namespace=namespace, uid=uid, grace_period_seconds=0)
    with pytest.raises(NotFoundError):
        await client.get(PODS, "a", namespace=namespace)


@contract
async def a_status_is_changed_by_its_subresource_only(client: KubernetesClient, namespace: str) -> None:
    name = f"node-of-{namespace}"
    await client.create(NODES, {"metadata": {"name": name}, "spec": {"unschedulable": True}})
    try:
        for kind in ("A", "B"):
            condition = {"type": kind, "status": "True", "reason": "R", "message": ""}
            status = {"status": {"conditions": [condition], "capacity": {"pods": "5"}}}
            await client.patch(NODES, name, status, subresource="status", strategy=PatchStrategy.STRATEGIC)
        await client.patch(NODES, name, {"status": {"capacity": {"pods": "7"}}})
        node = await client.get(NODES, name)
        assert {"A", "B"} <= {condition["type"] for condition in node["status"]["conditions"]}
        assert node["status"]["capacity"]["pods"] == "5"
        assert node["spec"]["unschedulable"] is True
    finally:
        await client.delete(NODES, name)


@contract
async def lists_by_selectors(client: KubernetesClient, namespace: str) -> None:
    await client.create(CONFIG_MAPS, config_map("a", labels={"app": "x"}), namespace=namespace)
    await client.create(CONFIG_MAPS, config_map("b", labels={"app": "y"}), namespace=namespace)
    by_label = await client.list(CONFIG_MAPS, namespace=namespace, label_selector="app=x")
    assert [item["metadata"]["name"] for item in by_label.items] == ["a"]
    others = await client.list(CONFIG_MAPS, namespace=namespace, label_selector="app,app!=x")
    assert [item["metadata"]["name"] for item in others.items] == ["b"]
    by_field = await client.list(CONFIG_MAPS, namespace=namespace, field_selector="metadata.name=b")
    assert [(item["metadata"]["name"], item["kind"]) for item in by_field.items] == [("b", "ConfigMap")]


@contract
async def lists_in_pages(client: KubernetesClient, namespace: str) -> None:
    for number in range(7):
        await client.create(CONFIG_MAPS, config_map(f"p{number}"), namespace=namespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "PAGE_ITEMS", 3)
        listed = await client.list(CONFIG_MAPS, namespace=namespace, label_selector="!none")
    names = [item["metadata"]["name"] for item in listed.items]
    assert [name for name in names if name.startswith("p")] == [f"p{number}" for number in range(7)]


@contract
async def a_watch_tells_what_the_list_did_not(client: KubernetesClient, namespace: str) -> None:
    """An object that leaves the selection is DELETED to the watcher, one that enters it is ADDED."""
    selection = {"namespace": namespace, "label_selector": "app=x"}
    await client.create(CONFIG_MAPS, config_map("a", labels={"app": "x"}), namespace=namespace)
    await client.create(CONFIG_MAPS, config_map("b", labels={"app": "y"}), namespace=namespace)
    listed = await client.list(CONFIG_MAPS, **selection)
    assert [item["metadata"]["name"] for item in listed.items] == ["a"]
    for name, label in (("b", {"app": "x"}), ("a", {"other": "1"}), ("a", {"app": "y"})):
        await client.patch(CONFIG_MAPS, name, {"metadata": {"labels": label}}, namespace=namespace)
    await client.delete(CONFIG_MAPS, "b", namespace=namespace)
    seen = []
    watch = client.watch(CONFIG_MAPS, **selection, resource_version=listed.resource_version)
    async with asyncio.timeout(20), aclosing(watch):
        async for event in watch:
            if event.type != "BOOKMARK":
                seen.append((event.type, event.object["metadata"]["name"]))
            if len(seen) == 4:
                break
    assert seen == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")]


@contract
async def a_watch_ends_cleanly_at_its_time(client: KubernetesClient, namespace: str) -> None:
    listed = await client.list(CONFIG_MAPS, namespace=namespace)
    watch = client.watch(CONFIG_MAPS, namespace=namespace, resource_version=listed.resource_version, timeout_s=1)
    async with asyncio.timeout(20):
        assert [event.type async for event in watch if event.type != "BOOKMARK"] == []


@contract
async def nonsense_is_refused(client: KubernetesClient, namespace: str) -> None:
    with pytest.raises(ApiError):
        await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "another"}}, namespace=namespace)
