"""The gateway needs every right that `deploy/rbac.yaml` gives it, and no other.

All tests of the kubelet run against an API server that refuses anything else; here the superfluous are looked for.
"""

from __future__ import annotations

import asyncio

import pytest

from fakes.device_runtime import profile_of
from fakes.kubelet_world import world
from fakes.rights import gateway_rights
from fita.kube.resource import CONFIG_MAPS, NODES, PODS, SECRETS

pytestmark = pytest.mark.looptime

ENROLMENT = {("list", "devices"), ("watch", "devices"), ("patch", "devices/status")}
"""What the rest of the gateway needs, which is tested with it."""


async def test_every_right_is_needed() -> None:
    async with world() as here:
        here.cluster.put(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "default"}, "data": {}})
        here.cluster.put(SECRETS, {"metadata": {"name": "s", "namespace": "default"}, "data": {}})
        env_from = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]
        for device in ("lamp1", "lamp2"):
            here.runtime.join(profile_of(device))
        here.add_pod(container={"envFrom": env_from})
        await here.until(here.is_ready)
        here.runtime.vanish("lamp1", 1000)  # its second start is the same event, counted
        await here.until(here.is_ready)
        await asyncio.sleep(20)
        await here.stop()
        taken = {"name": "gw-taken", "annotations": {"embserve.fhp.pt/nodeId": "other"}}
        here.cluster.put(NODES, {"metadata": taken})
        await here.start()
        for device in ("lamp1", "taken"):
            here.runtime.join(profile_of(device))
        await here.until(lambda: "NodeNameTaken" in here.reasons())
        here.cluster.delete(PODS, "a", "default", grace_s=30)
        await here.until(lambda: here.pod() is None)
        assert here.cluster.rights is not None
        assert here.cluster.rights.used == gateway_rights().granted.keys() - ENROLMENT


def test_leases_are_allowed_where_nodes_have_them_only() -> None:
    granted = gateway_rights().granted
    assert {namespace for (_, resource), namespace in granted.items() if resource == "leases"} == {
        "kube-node-lease"
    }
    assert not any("*" in right for pair in granted for right in pair)
