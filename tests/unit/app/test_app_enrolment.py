"""Who may join, and what is written back to `Device` resources; an API server in memory, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from fakes.memory_cluster import MemoryCluster
from fita.app.device import NameTakenError, NotEnrolledError, enroll, resource_name, revoke
from fita.app.enrolment import Enrolment
from fita.base.errors import ConfigurationError
from fita.kube.resource import DEVICES, RawObject
from fita.kubelet.deadline import API_DEADLINE_S
from fita.kubelet.node import node_name
from fita.model.device import DeviceProfile, Endpoint
from fita.model.platform import Platform

pytestmark = pytest.mark.looptime

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LAMP = Endpoint("lamp1")


def device(name: str, *, endpoint: str = "", enabled: bool = True, status: RawObject | None = None) -> RawObject:
    spec: RawObject = {"enabled": enabled} | ({"endpoint": endpoint} if endpoint else {})
    return {"metadata": {"name": name}, "spec": spec, "status": status or {}}


def profile(endpoint: Endpoint = LAMP, lifetime_s: int = 60) -> DeviceProfile:
    platform = Platform("micropython", "any", "v6")
    return DeviceProfile(endpoint=endpoint, address="10.0.0.2:5683", platform=platform, lifetime_s=lifetime_s)


def status_of(cluster: MemoryCluster, name: str) -> RawObject:
    found = cluster.get(DEVICES, name)
    assert found is not None
    status: RawObject = found.get("status", {})
    return status


@asynccontextmanager
async def running(cluster: MemoryCluster, *, is_open: bool = False) -> AsyncIterator[Enrolment]:
    enrolment = Enrolment(
        cluster.client(), is_open=is_open, node_name=lambda endpoint: node_name("gw", endpoint), clock=lambda: NOW
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(enrolment.watch()), group.create_task(enrolment.report())]
        await enrolment.wait_ready()
        try:
            yield enrolment
        finally:
            for task in tasks:
                task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.01)


# Enrolling and revoking


def test_a_valid_name_is_the_resource_s_and_others_never_meet() -> None:
    assert resource_name(Endpoint("b1-node2")) == "b1-node2"
    assert resource_name(Endpoint("urn.imei.1")) == "urn.imei.1"
    alike = ["b1-node2", "b1_node2", "B1_node2", "b1_node2_", "b1.-node2", "_", "__", "~", "b1__node2"]
    names = [resource_name(Endpoint(each)) for each in alike]
    assert len(set(names)) == len(alike)
    assert all(name.strip("-.") == name and name.replace("-", "").isalnum() for name in names)


async def test_enrolling_one_device_leaves_one_of_a_like_name_alone() -> None:
    cluster = MemoryCluster()
    client = cluster.client()
    cluster.put(DEVICES, device("b1-node2", endpoint="b1_node2"))
    with pytest.raises(NameTakenError, match="b1-node2"):
        await enroll(client, "b1-node2")
    with pytest.raises(NotEnrolledError):
        await revoke(client, "b1-node2")
    kept = cluster.get(DEVICES, "b1-node2")
    assert kept is not None
    assert kept["spec"]["endpoint"] == "b1_node2"


async def test_enrolling_twice_makes_one_resource_and_enables_one_that_is_there() -> None:
    cluster = MemoryCluster()
    client = cluster.client()
    cluster.put(DEVICES, device("by-hand", endpoint="b1_node2", enabled=False))
    await enroll(client, "b1_node2")
    await enroll(client, "b1_node2")
    (only,) = cluster.objects(DEVICES)
    assert only["spec"] == {"endpoint": "b1_node2", "enabled": True}


async def test_revoking_deletes_every_resource_of_the_device() -> None:
    cluster = MemoryCluster()
    client = cluster.client()
    for endpoint in ("b1_node1", "b1_node2"):
        await enroll(client, endpoint)
    cluster.put(DEVICES, device("by-hand", endpoint="b1_node2"))
    await revoke(client, "b1_node2")
    assert [found["spec"]["endpoint"] for found in cluster.objects(DEVICES)] == ["b1_node1"]


@pytest.mark.parametrize("endpoint", ["", "bad name/x", "a\tb", "ü", "a" * 129, "a\n"])
async def test_what_no_device_registers_with_cannot_be_enrolled(endpoint: str) -> None:
    cluster = MemoryCluster()
    with pytest.raises(ConfigurationError, match="endpoint name"):
        await enroll(cluster.client(), endpoint)
    assert cluster.writes == []


# Who may join


async def test_enrolment_is_a_resource_that_is_not_disabled() -> None:
    cluster = MemoryCluster()
    cluster.put(DEVICES, device("lamp1"))
    cluster.put(DEVICES, device("lamp2", enabled=False))
    async with running(cluster) as enrolment:
        assert [enrolment.allows(Endpoint(f"lamp{n}")) for n in (1, 2, 3)] == [True, False, False]
    async with running(cluster, is_open=True) as enrolment:
        assert [enrolment.allows(Endpoint(f"lamp{n}")) for n in (1, 2, 3)] == [True, False, True]


async def test_two_resources_of_one_device_count_each_for_itself() -> None:
    cluster = MemoryCluster()
    cluster.put(DEVICES, device("lamp1"))
    cluster.put(DEVICES, device("second", endpoint="lamp1"))
    async with running(cluster) as enrolment:
        cluster.delete(DEVICES, "second")
        await asyncio.sleep(1)
        assert enrolment.allows(LAMP), "the other one still enrols it"

        cluster.put(DEVICES, device("third", endpoint="lamp1", enabled=False))
        await until(lambda: not enrolment.allows(LAMP))
        cluster.put(DEVICES, device("third", endpoint="elsewhere"))
        await until(lambda: enrolment.allows(LAMP))
        cluster.delete(DEVICES, "lamp1")
        await until(lambda: not enrolment.allows(LAMP))


# What is written back


async def test_a_device_that_joins_and_leaves_is_told_in_all_its_resources() -> None:
    cluster = MemoryCluster()
    cluster.put(DEVICES, device("lamp1"))
    cluster.put(DEVICES, device("second", endpoint="lamp1"))
    async with running(cluster) as enrolment:
        enrolment.device_joined(profile())
        await until(lambda: all(status_of(cluster, name) for name in ("lamp1", "second")))
        assert status_of(cluster, "second") == {
            "online": True,
            "node": "gw-lamp1",
            "lifetimeSeconds": 60,
            "lastSeenAt": "2026-01-02T03:04:05Z",
        }
        writes = len(cluster.writes)
        enrolment.device_joined(profile())
        await asyncio.sleep(1)
        assert len(cluster.writes) == writes

        enrolment.device_lost(LAMP, "gone")
        await until(lambda: not status_of(cluster, "lamp1")["online"])


async def test_who_does_not_come_back_after_a_restart_is_offline_after_its_lifetime() -> None:
    cluster = MemoryCluster()
    before = {"online": True, "node": "gw-lamp1", "lifetimeSeconds": 60, "lastSeenAt": "2025-12-31T00:00:00Z"}
    cluster.put(DEVICES, device("lamp1", status=before))
    cluster.put(DEVICES, device("elsewhere", status={**before, "node": "other-elsewhere"}))
    async with running(cluster):
        await asyncio.sleep(58)
        assert cluster.writes == []
        await asyncio.sleep(4)
        assert status_of(cluster, "lamp1") == {**before, "online": False}, "when it was seen last is still true"
        assert status_of(cluster, "elsewhere")["online"], "another gateway's device"


async def test_who_comes_back_after_a_restart_stays_online() -> None:
    cluster = MemoryCluster()
    cluster.put(DEVICES, device("lamp1", status={"online": True, "node": "gw-lamp1", "lifetimeSeconds": 60}))
    async with running(cluster) as enrolment:
        await asyncio.sleep(30)
        enrolment.device_joined(profile())
        await asyncio.sleep(120)
        assert status_of(cluster, "lamp1")["online"] is True


async def test_a_write_that_is_not_answered_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = MemoryCluster()
    cluster.put(DEVICES, device("lamp1"))
    answer, silent = cluster.answer, True

    async def answers(method: str, *rest: object) -> RawObject:
        if method == "PATCH" and silent:
            await asyncio.Event().wait()
        return await answer(method, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(cluster, "answer", answers)
    async with running(cluster) as enrolment:
        enrolment.device_joined(profile())
        await asyncio.sleep(1)
        silent = False
        await asyncio.sleep(API_DEADLINE_S + 3)
        assert status_of(cluster, "lamp1")["online"] is True
