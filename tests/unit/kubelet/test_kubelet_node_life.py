"""Nodes and leases as devices come, go and stay away."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from fakes.device_runtime import profile_of
from fakes.kubelet_world import World, world
from fita.kube.resource import LEASES, NODES

pytestmark = pytest.mark.looptime


def renewed_at(here: World, node: str = "gw-lamp1") -> datetime | None:
    lease = here.cluster.get(LEASES, node, "kube-node-lease")
    return datetime.fromisoformat(lease["spec"]["renewTime"]) if lease else None


def age(here: World, node: str = "gw-lamp1") -> timedelta:
    at = renewed_at(here, node)
    assert at is not None
    return here.now() - at


async def test_a_device_is_a_ready_node_with_a_lease() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        node = await here.until(here.node, within_s=1)
        assert here.condition(node)["status"] == "True"
        lease = await here.until(lambda: here.cluster.get(LEASES, "gw-lamp1", "kube-node-lease"), within_s=1)
        assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == ("gw-lamp1", 40)
        assert here.metric("fita_kubelet_register_to_ready_seconds_count") == 1
        assert here.metric("fita_kubelet_nodes") == 1
        await here.until(lambda: "DeviceRegistered" in here.reasons())


async def test_a_hundred_nodes_cost_their_leases_and_nothing_else() -> None:
    async with world() as here:
        for number in range(100):
            here.runtime.join(profile_of(f"lamp{number}"))
        await here.until(lambda: len(here.cluster.objects(LEASES)) == 100)
        await asyncio.sleep(30)
        here.cluster.writes.clear()
        for _ in range(300):
            await asyncio.sleep(1)
            assert max(age(here, f"gw-lamp{number}") for number in range(0, 100, 7)) < timedelta(seconds=35)
        assert {verb + path.split("/")[-2] for verb, path in here.cluster.writes} == {"PATCHleases"}
        assert 1000 <= len(here.cluster.writes) <= 1200


async def test_a_lost_device_is_unknown_at_once_and_its_lease_lapses() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(lambda: renewed_at(here))
        here.runtime.lose("lamp1", "it said goodbye")
        await here.until(lambda: here.condition(here.node())["status"] == "Unknown", within_s=1)
        assert here.condition(here.node())["message"] == "it said goodbye"
        await here.until(lambda: "DeviceLost" in here.reasons())
        await asyncio.sleep(100)
        assert age(here) > timedelta(seconds=90)
        assert here.node() is not None
        here.runtime.join(profile_of("lamp1"))
        await here.until(lambda: here.condition(here.node())["status"] == "True", within_s=1)
        await here.until(lambda: age(here) < timedelta(seconds=1), within_s=1)


async def test_a_lease_that_cannot_be_written_is_tried_again_in_time() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(lambda: renewed_at(here))
        here.cluster.refused["leases"] = 500
        await asyncio.sleep(32)
        del here.cluster.refused["leases"]
        await asyncio.sleep(5)
        assert age(here) < timedelta(seconds=6)


async def test_what_kubernetes_says_of_a_node_that_is_well_is_corrected() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.node)
        conditions = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
        here.cluster.patch(NODES, "gw-lamp1", {"status": {"conditions": conditions}}, subresource="status")
        await here.until(lambda: here.condition(here.node())["status"] == "True", within_s=1)


async def test_a_cordoned_node_stays_cordoned_and_labels_of_others_stay() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.node)
        here.cluster.patch(
            NODES,
            "gw-lamp1",
            {"spec": {"unschedulable": True, "taints": []}, "metadata": {"labels": {"site": "porto"}}},
        )
        here.runtime.join(profile_of("lamp1", capabilities=("lamp",)))
        await here.until(lambda: "extra.resources.fhp/lamp" in (here.node() or {})["metadata"]["labels"])
        node = here.node() or {}
        assert node["spec"] == {"unschedulable": True, "taints": []}
        assert node["metadata"]["labels"]["site"] == "porto"
        assert "extra.resources.fhp/temperature_sensor" not in node["metadata"]["labels"]


async def test_after_a_restart_a_node_stays_ready_for_its_registrations_lifetime() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1", lifetime_s=120))
        await here.until(lambda: renewed_at(here))
        await here.stop()
        await asyncio.sleep(10)
        await here.start()
        await asyncio.sleep(75)
        assert here.condition(here.node())["status"] == "True"
        assert age(here) < timedelta(seconds=31)
        await here.until(lambda: here.condition(here.node())["status"] == "Unknown", within_s=45)
        assert "has not registered" in here.condition(here.node())["message"]
        await asyncio.sleep(100)
        assert age(here) > timedelta(seconds=90)


async def test_a_gateway_that_was_away_for_longer_than_a_lifetime_believes_nothing() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1", lifetime_s=120))
        await here.until(lambda: renewed_at(here))
        await here.stop()
        await asyncio.sleep(200)
        assert here.condition(here.node())["status"] == "True", "nobody was there to say anything else"
        await here.start()
        await here.until(lambda: here.condition(here.node())["status"] == "Unknown", within_s=1)


async def test_a_node_that_was_lost_before_the_restart_stays_lost() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(lambda: renewed_at(here))
        here.runtime.lose("lamp1", "it said goodbye")
        await here.until(lambda: here.condition(here.node())["status"] == "Unknown")
        await here.stop()
        await here.start()
        before = here.writes("/nodes/")
        await asyncio.sleep(100)
        assert here.condition(here.node())["message"] == "it said goodbye"
        assert here.writes("/nodes/") == before


async def test_a_node_deleted_while_its_device_is_away_is_forgotten() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.node)
        here.runtime.lose("lamp1")
        await asyncio.sleep(1)
        here.cluster.delete(NODES, "gw-lamp1")
        await asyncio.sleep(100)
        assert here.node() is None
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.node, within_s=1)


async def test_a_node_made_by_somebody_else_is_not_taken_over() -> None:
    async with world() as here:
        here.cluster.put(
            NODES, {"metadata": {"name": "gw-lamp1", "annotations": {"embserve.fhp.pt/nodeId": "lamp_1"}}}
        )
        here.runtime.join(profile_of("lamp1"))
        await here.until(lambda: "NodeNameTaken" in here.reasons())
        assert "status" not in (here.node() or {})
        assert renewed_at(here) is None
        here.cluster.delete(NODES, "gw-lamp1")
        await here.until(lambda: here.condition(here.node()).get("status") == "True", within_s=70)


async def test_of_two_devices_with_one_name_the_first_is_the_node() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp_1"))
        await here.until(lambda: here.node("gw-lamp-1"))
        here.runtime.join(profile_of("lamp-1", capabilities=("lamp",)))
        await asyncio.sleep(1)
        node = here.node("gw-lamp-1") or {}
        assert node["metadata"]["annotations"]["embserve.fhp.pt/nodeId"] == "lamp_1"
        assert "extra.resources.fhp/lamp" not in node["metadata"]["labels"]
        await here.until(lambda: "NodeNameTaken" in here.reasons())
