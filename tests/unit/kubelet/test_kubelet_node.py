"""What a device becomes as a Node, what is patched later, and what is left to others."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.kube.resource import RawObject
from fita.kubelet.node import (
    KUBELET_VERSION,
    describe_node,
    host_of,
    ip_of,
    lost_patch,
    node_manifest,
    node_name,
    node_patch,
    ready_conditions,
)
from fita.model import wellknown
from fita.model.device import DeviceProfile, Endpoint
from fita.model.kubernetes import Node
from fita.model.platform import Platform

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 12, 5, 0, tzinfo=UTC)
PROFILE = DeviceProfile(
    endpoint=Endpoint("b1_node1"),
    address="10.0.0.7:5683",
    platform=Platform("micropython", "armv7em", "v6"),
    manufacturer="Fraunhofer",
    model="Lamp",
    serial_number="s-1",
    firmware_version="1.29",
    runtime_version="0.1",
    memory_bytes=128 * 1024,
    service_memory_bytes=64 * 1024,
    storage_bytes=256 * 1024,
    max_services=4,
    capabilities=("temperature_sensor", "lamp"),
    lifetime_s=60,
    registered_at=NOW,
)


def stored(profile: DeviceProfile, **changes: object) -> Node:
    """The node of `profile` as the API server has it after its creation."""
    body = node_manifest(describe_node(profile, gateway_name="gw"), ready_conditions(profile), now=NOW)
    return msgspec.structs.replace(msgspec.convert(body, Node), **changes)


def patch(node: Node, profile: DeviceProfile) -> RawObject:
    form = describe_node(profile, gateway_name="gw")
    return node_patch(node, form, ready_conditions(profile), now=LATER)


def test_a_device_is_an_ordinary_node() -> None:
    node = stored(PROFILE)
    assert node.metadata.name == "gw-b1-node1"
    assert node.metadata.labels == {
        "kubernetes.io/hostname": "gw-b1-node1",
        "kubernetes.io/os": "micropython",
        "kubernetes.io/arch": "armv7em-v6",
        "fita.fhp.pt/gateway": "gw",
        "node.kubernetes.io/exclude-from-external-load-balancers": "true",
        "extra.resources.fhp/embserve": "true",
        "extra.resources.fhp/temperature_sensor": "true",
        "extra.resources.fhp/lamp": "true",
    }
    assert node.metadata.annotations["embserve.fhp.pt/nodeId"] == "b1_node1"
    assert node.metadata.annotations["embserve.fhp.pt/address"] == "10.0.0.7:5683"
    assert node.metadata.annotations["embserve.fhp.pt/runtime"] == "embserve"
    assert [(taint.key, taint.value, taint.effect) for taint in node.spec.taints] == [
        ("fita.fhp.pt/type", "far-edge", "NoSchedule")
    ]
    assert node.status.capacity == {"cpu": "1000m", "memory": "128Ki", "ephemeral-storage": "256Ki", "pods": "4"}
    assert node.status.allocatable["memory"] == "64Ki"
    assert {address.type: address.address for address in node.status.addresses} == {
        "InternalIP": "10.0.0.7",
        "Hostname": "gw-b1-node1",
    }
    assert node.status.node_info.operating_system == "micropython"
    assert node.status.node_info.architecture == "armv7em-v6"
    assert re.fullmatch(r"v1\.\d+\.\d+-fita.+", KUBELET_VERSION)
    assert {condition.type: condition.status for condition in node.status.conditions} == {
        "Ready": "True",
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
    }


def test_a_node_that_says_it_all_is_left_alone() -> None:
    assert patch(stored(PROFILE), PROFILE) == {}


def test_quantities_are_compared_as_numbers() -> None:
    node = stored(PROFILE)
    status = msgspec.structs.replace(
        node.status, capacity={**node.status.capacity, "cpu": "1", "memory": 131072, "vendor.example/lamp": "1"}
    )
    assert patch(msgspec.structs.replace(node, status=status), PROFILE) == {}


def test_what_others_wrote_stays() -> None:
    node = stored(PROFILE)
    metadata = msgspec.structs.replace(
        node.metadata,
        labels={**node.metadata.labels, "site": "porto", "extra.resources.fhp/rain_gauge": "true"},
        annotations={**node.metadata.annotations, "note": "roof"},
    )
    spec = msgspec.structs.replace(node.spec, unschedulable=True, taints=[])
    assert patch(msgspec.structs.replace(node, metadata=metadata, spec=spec), PROFILE) == {}


def test_a_capability_that_vanished_loses_its_label() -> None:
    body = patch(stored(PROFILE), msgspec.structs.replace(PROFILE, capabilities=("lamp",)))
    assert body == {
        "metadata": {
            "labels": {"extra.resources.fhp/temperature_sensor": None},
            "annotations": {wellknown.ANNOTATION_CAPABILITIES: "lamp"},
        }
    }


def test_a_new_address_is_one_patch() -> None:
    body = patch(stored(PROFILE), msgspec.structs.replace(PROFILE, address="[fd00::7]:5683"))
    assert body["metadata"] == {"annotations": {"embserve.fhp.pt/address": "[fd00::7]:5683"}}
    assert body["status"] == {
        "addresses": [{"type": "InternalIP", "address": "fd00::7"}, {"type": "Hostname", "address": "gw-b1-node1"}]
    }


def test_a_lost_device_is_unknown_and_ready_again_later() -> None:
    node = stored(PROFILE)
    body = lost_patch(node, "its registration expired", now=LATER)
    lost = msgspec.convert(body, Node, strict=False) if "metadata" in body else None
    assert lost is None
    conditions = msgspec.convert(body["status"], type(node.status)).conditions
    ready = conditions[0]
    assert (ready.type, ready.status, ready.reason) == ("Ready", "Unknown", "DeviceLost")
    assert (ready.message, ready.last_transition_time) == ("its registration expired", "2026-03-01T12:05:00Z")
    status = msgspec.structs.replace(node.status, conditions=conditions)
    node = msgspec.structs.replace(node, status=status)
    assert lost_patch(node, "its registration expired", now=LATER) == {}
    restored = patch(node, PROFILE)["status"]
    assert msgspec.convert(restored, type(node.status)).conditions[0].status == "True"


def test_a_new_reason_keeps_the_time_of_the_transition() -> None:
    node = stored(PROFILE)
    old = [msgspec.structs.replace(condition, reason="KubeletReady") for condition in node.status.conditions]
    body = patch(
        msgspec.structs.replace(node, status=msgspec.structs.replace(node.status, conditions=old)), PROFILE
    )
    conditions = msgspec.convert(body["status"], type(node.status)).conditions
    assert {condition.last_transition_time for condition in conditions} == {"2026-03-01T12:00:00Z"}
    assert {condition.last_heartbeat_time for condition in conditions} == {"2026-03-01T12:05:00Z"}


def test_a_device_in_queue_mode_is_asleep_and_ready() -> None:
    sleeper = msgspec.structs.replace(PROFILE, queue_mode=True)
    node = stored(sleeper)
    assert {condition.type: condition.status for condition in node.status.conditions}["Asleep"] == "True"
    body = patch(node, PROFILE)
    [asleep] = msgspec.convert(body["status"], type(node.status)).conditions
    assert (asleep.type, asleep.status) == ("Asleep", "False")
    lost = lost_patch(node, "gone", now=LATER)
    assert "Asleep" not in {c.type for c in msgspec.convert(lost["status"], type(node.status)).conditions}


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("b1_node1", "labnuc05-b1-node1"),
        ("LAMP.1", "labnuc05-lamp.1"),
        ("urn:dev:mac:0024beffff804ff1", "labnuc05-urn-dev-mac-0024beffff804ff1"),
        ("a..b", "labnuc05-a-b"),
        ("ü_", "labnuc05"),
    ],
)
def test_names_of_nodes(endpoint: str, name: str) -> None:
    assert node_name("labnuc05", Endpoint(endpoint)) == name


@given(st.text(min_size=1, max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_endpoint_gives_a_name_that_kubernetes_takes(endpoint: str) -> None:
    name = node_name("gw", Endpoint(endpoint))
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", name)


def test_long_endpoints_stay_different() -> None:
    names = {node_name("gw", Endpoint("x" * 80 + str(number))) for number in range(20)}
    assert len(names) == 20


@given(st.text(max_size=100))
@settings(max_examples=200, deadline=None)
def test_every_capability_gives_a_label_that_kubernetes_takes(capability: str) -> None:
    form = describe_node(msgspec.structs.replace(PROFILE, capabilities=(capability,)), gateway_name="gw")
    for key, value in form.labels.items():
        assert re.fullmatch(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", key)
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value)


@pytest.mark.parametrize(
    ("address", "host", "ip"),
    [
        ("10.0.0.7:5683", "10.0.0.7", "10.0.0.7"),
        ("[fd00::7]:5683", "fd00::7", "fd00::7"),
        ("[fe80::1%eth0]:5683", "fe80::1%eth0", "fe80::1"),
        ("fd00::7", "fd00::7", "fd00::7"),
        ("lamp.local:5683", "lamp.local", ""),
    ],
)
def test_addresses(address: str, host: str, ip: str) -> None:
    assert (host_of(address), ip_of(address)) == (host, ip)
