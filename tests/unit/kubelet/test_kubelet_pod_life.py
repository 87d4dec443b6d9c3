"""A pod's life on a device: from bound to Running to gone, and what may go wrong on the way."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from fakes.device_runtime import ANY, profile_of
from fakes.kubelet_world import IMAGE, world
from fita.kube.resource import CONFIG_MAPS, EVENTS, NODES, PODS
from fita.model.platform import Platform
from fita.model.runtime import DeployError, DeployReason, ServicePhase
from fita.model.service import Dependencies, ServiceManifest
from fita.oci.errors import (
    ArtifactNotFoundError,
    InvalidReferenceError,
    OciError,
    RegistryUnavailableError,
    UnsupportedArtifactError,
)

pytestmark = pytest.mark.looptime

SECOND = "fita.local/average:2"


async def test_a_pod_runs_on_a_device() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        pod, service = here.pod(), here.runtime.service("lamp1", here.uid())
        assert pod is not None
        assert service is not None
        status = pod["status"]
        assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.0.0.7", "10.0.0.7")
        container = here.container()
        assert container["imageID"] == f"fita.local/average@{service.digest}"
        assert container["containerID"] == "fita://lamp1/1000"
        assert container["state"]["running"]["startedAt"]
        annotations = pod["metadata"]["annotations"]
        assert annotations["embserve.fhp.pt/nodeId"] == "lamp1"
        assert annotations["embserve.fhp.pt/address"] == "10.0.0.7:5683"
        assert annotations["embserve.fhp.pt/runtime"] == "embserve"
        metadata = json.loads(annotations["embserve.fhp.pt/serviceMetadata"])
        assert [(service["name"], service["id"]) for service in metadata] == [("average", 1000)]
        await here.until(lambda: {"Pulled", "Started"} <= here.reasons())
        assert here.metric("fita_kubelet_pods_running") == 1
        assert here.metric("fita_kubelet_bound_to_running_seconds_count") == 1
        assert here.kubelet.workload(service.workload) == ("default", "a", "gw-lamp1")


async def test_a_pod_takes_two_writes_and_then_none() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        await asyncio.sleep(600)
        assert here.writes("/pods/") == 2


async def test_a_pod_that_is_bound_first_runs_when_the_device_comes() -> None:
    async with world() as here:
        here.add_pod()
        await asyncio.sleep(5)
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.is_ready)


async def test_a_deleted_pod_leaves_the_device_and_then_the_cluster() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        uid = here.uid()
        here.cluster.delete(PODS, "a", "default", grace_s=30)
        await here.until(lambda: here.pod() is None, within_s=1)
        assert here.runtime.service("lamp1", uid) is None
        await here.until(lambda: "Killing" in here.reasons())


async def test_a_pod_deleted_while_it_is_deployed_is_called_off() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        device.deploy_s = 50
        here.add_pod()
        await here.until(lambda: here.runtime.deployed)
        here.cluster.delete(PODS, "a", "default", grace_s=30)
        await here.until(lambda: here.pod() is None, within_s=1)
        await asyncio.sleep(100)
        assert device.services == {}


async def test_a_pod_recreated_under_its_name_is_another_pod() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        first = here.uid()
        here.cluster.delete(PODS, "a", "default", grace_s=0)
        here.add_pod(image=IMAGE)
        await here.until(lambda: here.uid() != first and here.is_ready())
        await here.until(lambda: here.runtime.service("lamp1", first) is None)
        assert len(here.runtime.all["lamp1"].services) == 1


async def test_pods_of_other_nodes_are_none_of_its_business() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod("b", node="worker-1")
        await here.until(here.node)
        await asyncio.sleep(10)
        assert here.writes("/pods/") == 0
        assert here.runtime.deployed == []


# What runs, as the device says it


async def test_a_crash_is_said_and_counted_as_the_device_counts() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.runtime.crash("lamp1", 1000, "ZeroDivisionError in loop")
        await here.until(lambda: here.waiting() == "CrashLoopBackOff", within_s=1)
        container = here.container()
        assert container["lastState"]["terminated"]["message"] == "ZeroDivisionError in loop"
        assert container["lastState"]["terminated"]["exitCode"] == 1
        assert container["restartCount"] == 0
        assert not here.is_ready()
        assert (here.pod() or {})["status"]["phase"] == "Running"
        assert here.metric("fita_kubelet_pods_running") == 0
        here.runtime.restart("lamp1", 1000)
        await here.until(here.is_ready, within_s=1)
        assert here.container()["restartCount"] == 1
        assert len(here.runtime.deployed) == 1


async def test_a_pod_that_may_not_restart_fails_with_its_service() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod(restartPolicy="Never")
        await here.until(here.is_ready)
        here.runtime.crash("lamp1", 1000, "boom")
        await here.until(lambda: (here.pod() or {})["status"]["phase"] == "Failed", within_s=1)
        assert here.container()["state"]["terminated"]["message"] == "boom"
        await here.until(lambda: not here.runtime.all["lamp1"].services)


async def test_a_service_that_vanished_is_deployed_again() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.runtime.vanish("lamp1", 1000)
        await here.until(lambda: len(here.runtime.deployed) == 2 and here.is_ready())
        assert here.container()["containerID"] == "fita://lamp1/1001"


async def test_services_of_others_are_left_alone() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        foreign = here.runtime.install_foreign("lamp1")
        here.add_pod()
        await here.until(here.is_ready)
        here.cluster.delete(PODS, "a", "default", grace_s=0)
        await here.until(lambda: list(here.runtime.all["lamp1"].services) == [foreign])
        await asyncio.sleep(100)
        assert list(here.runtime.all["lamp1"].services) == [foreign]


# Images


async def test_another_image_replaces_the_service_in_place() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        new = here.artifacts.add(SECOND)
        here.cluster.patch(PODS, "a", {"spec": {"containers": [{"name": "main", "image": SECOND}]}}, "default")
        await here.until(lambda: new.digest in here.container()["imageID"])
        assert here.is_ready()
        assert (here.container()["image"], here.container()["restartCount"]) == (SECOND, 1)
        assert len(here.runtime.all["lamp1"].services) == 1


async def test_an_update_that_fails_leaves_the_old_one_running_and_says_so() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.artifacts.add(SECOND)
        device.errors = [DeployError(DeployReason.START_FAILED, "setup raised", retryable=True)]
        here.cluster.patch(PODS, "a", {"spec": {"containers": [{"name": "main", "image": SECOND}]}}, "default")
        current = await here.until(lambda: here.condition(here.pod(), "fita.fhp.pt/ImageCurrent"))
        assert (current["status"], current["reason"]) == ("False", "StartError")
        assert here.is_ready()
        assert here.container()["image"] == IMAGE
        await here.until(lambda: here.container()["image"] == SECOND, within_s=30)
        assert here.condition(here.pod(), "fita.fhp.pt/ImageCurrent")["status"] == "True"


@pytest.mark.parametrize(
    ("error", "policy", "reasons"),
    [
        (ArtifactNotFoundError(IMAGE, "not there"), "", ["ErrImagePull", "ImagePullBackOff"]),
        (ArtifactNotFoundError(IMAGE, "not there"), "Never", ["ErrImageNeverPull", "ErrImageNeverPull"]),
        (RegistryUnavailableError("no answer"), "", ["RegistryUnavailable", "RegistryUnavailable"]),
        (InvalidReferenceError("what is this"), "", ["InvalidImageName", "InvalidImageName"]),
        (UnsupportedArtifactError("for x", available=("linux/amd64",)), "", ["UnsupportedPlatform"] * 2),
        (UnsupportedArtifactError("no service"), "", ["InvalidPackage", "InvalidPackage"]),
    ],
)
async def test_an_image_that_cannot_be_had_is_named_and_tried_again(
    error: OciError, policy: str, reasons: list[str]
) -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.artifacts.errors[IMAGE] = error
        here.add_pod(container={"imagePullPolicy": policy} if policy else {})
        assert await here.until(lambda: here.waiting() == reasons[0])
        await here.until(lambda: reasons[0] in here.reasons())
        pulls = len(here.artifacts.pulls)
        await asyncio.sleep(100)
        assert here.waiting() == reasons[1]
        assert len(here.artifacts.pulls) - pulls == (0 if reasons[0] == "InvalidImageName" else 3)
        assert (here.pod() or {})["status"]["phase"] == "Pending"
        del here.artifacts.errors[IMAGE]
        if reasons[0] != "InvalidImageName":
            await here.until(here.is_ready, within_s=320)


@pytest.mark.parametrize(
    ("image", "policy", "used"),
    [
        ("fita.local/x:latest", "", "Always"),
        ("fita.local/x", "", "Always"),
        ("fita.local/x:3", "", "IfNotPresent"),
        ("fita.local/x:latest", "IfNotPresent", "IfNotPresent"),
    ],
)
async def test_pull_policies(image: str, policy: str, used: str) -> None:
    async with world() as here:
        here.artifacts.add(image)
        here.runtime.join(profile_of("lamp1"))
        here.add_pod(image=image, container={"imagePullPolicy": policy} if policy else {})
        await here.until(here.is_ready)
        assert here.artifacts.pulls == [(image, used)]


# What a device does not take


async def test_a_service_that_does_not_start_is_a_crash_loop() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        device.errors = [DeployError(DeployReason.START_FAILED, "setup: no such sensor", retryable=True)] * 2
        here.add_pod()
        await here.until(lambda: here.waiting() == "CrashLoopBackOff")
        last = here.container()["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (128, "StartError")
        assert "no such sensor" in last["message"]
        assert here.container()["restartCount"] == 0
        await here.until(here.is_ready, within_s=60)
        assert here.container()["restartCount"] == 2


async def test_a_service_that_may_not_restart_and_does_not_start_has_failed() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        device.errors = [DeployError(DeployReason.START_FAILED, "no such sensor", retryable=True)]
        here.add_pod(restartPolicy="Never")
        await here.until(lambda: (here.pod() or {})["status"]["phase"] == "Failed")
        assert here.container()["state"]["terminated"]["reason"] == "StartError"
        await asyncio.sleep(400)
        assert len(here.runtime.deployed) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"platform": Platform("zephyr", "arm", "v7")}, "UnsupportedPlatform"),
        (
            {"manifest": ServiceManifest(name="x", version=1, dependencies=Dependencies(9))},
            "UnsupportedAPIVersion",
        ),
        ({"manifest": ServiceManifest(name="x", version=1, sensors=("lamp",))}, "MissingCapability"),
        ({"binary": b"x" * 200_000}, "OutOfStorage"),
    ],
)
async def test_a_service_for_other_devices_waits_with_the_reason(changes: dict[str, object], reason: str) -> None:
    async with world() as here:
        here.artifacts.add(IMAGE, **{"platform": ANY, **changes})
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(lambda: here.waiting() == reason)
        await here.until(lambda: reason in here.reasons())
        assert here.runtime.deployed == []


async def test_what_does_not_fit_runs_as_soon_as_there_is_room() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1", max_services=5))
        foreign = [here.runtime.install_foreign("lamp1") for _ in range(4)]
        here.add_pod("a")
        await here.until(here.is_ready)
        here.add_pod("b", container={"resources": {}})
        here.cluster.patch(PODS, "b", {"metadata": {"labels": {"x": "y"}}}, "default")
        await here.until(lambda: here.waiting("b") == "TooManyServices")
        assert len(foreign) == 4
        here.cluster.delete(PODS, "a", "default", grace_s=30)
        await here.until(lambda: here.is_ready("b"), within_s=1)


async def test_a_device_without_free_memory_is_not_sent_anything() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        device.memory_free_bytes = 8 * 1024
        here.add_pod(container={"resources": {"limits": {"memory": "16Ki"}, "requests": {"memory": "16Ki"}}})
        await here.until(lambda: here.waiting() == "OutOfMemory")
        assert here.runtime.deployed == []
        device.memory_free_bytes = 32 * 1024
        await here.until(here.is_ready, within_s=15)
        assert here.runtime.orders[0].memory_limit_bytes == 16 * 1024


async def test_requests_beyond_the_node_fail_the_pod_as_a_kubelet_does() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        half = {"resources": {"requests": {"memory": "40Ki"}}}
        here.add_pod("a", container=half)
        await here.until(here.is_ready)
        here.add_pod("b", container=half)
        await here.until(lambda: (here.pod("b") or {})["status"]["phase"] == "Failed")
        status = (here.pod("b") or {})["status"]
        assert status["reason"] == "OutOfmemory"
        assert "requested: 40960, used: 40960, capacity: 65536" in status["message"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"containers": [{"name": "main", "image": IMAGE}, {"name": "two", "image": IMAGE}]}, "one container"),
        ({"initContainers": [{"name": "init", "image": IMAGE}]}, "init containers"),
        ({"container": {"command": ["sh"]}}, "no command"),
    ],
)
async def test_a_pod_that_no_device_can_run_waits_and_is_not_replaced(spec: dict[str, object], words: str) -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod(**spec)
        await here.until(lambda: here.waiting() == "UnsupportedPod")
        assert words in here.container()["state"]["waiting"]["message"]
        assert (here.pod() or {})["status"]["phase"] == "Pending"
        await asyncio.sleep(400)
        assert here.runtime.deployed == []
        await here.stop()
        await here.start()
        here.runtime.join(profile_of("lamp1"))
        await asyncio.sleep(100)
        assert here.runtime.deployed == []


async def test_what_means_nothing_on_a_device_is_said_once() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        mounts = [
            {"name": "t", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
            {"name": "d", "mountPath": "/data"},
        ]
        here.add_pod(container={"livenessProbe": {"httpGet": {}}, "volumeMounts": mounts})
        await here.until(here.is_ready)
        await here.until(lambda: "UnsupportedField" in here.reasons())
        [event] = [e for e in here.cluster.objects(EVENTS) if e["reason"] == "UnsupportedField"]
        assert "livenessProbe" in event["message"]
        assert "/data" in event["message"]
        assert "serviceaccount" not in event["message"]


# The environment


async def test_a_service_gets_its_environment_and_waits_for_what_is_missing() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        environment = [
            {"name": "WINDOW", "value": "5"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
        ]
        here.add_pod(container={"env": environment})
        await here.until(lambda: here.waiting() == "CreateContainerConfigError")
        assert here.container()["state"]["waiting"]["message"] == 'ConfigMap "settings" not found'
        here.cluster.put(
            CONFIG_MAPS, {"metadata": {"name": "settings", "namespace": "default"}, "data": {"mode": "eco"}}
        )
        await here.until(here.is_ready, within_s=15)
        assert here.runtime.orders[0].environment == {"WINDOW": "5", "NODE": "gw-lamp1", "MODE": "eco"}


# Devices that come and go


async def test_a_lost_device_keeps_its_pods_unready_and_comes_back_as_it_was() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.runtime.lose("lamp1", "its registration expired")
        await here.until(lambda: not here.is_ready(), within_s=1)
        assert here.condition(here.pod())["reason"] == "DeviceLost"
        assert here.condition(here.pod())["message"] == "its registration expired"
        assert here.container()["state"].keys() == {"running"}
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.is_ready, within_s=1)
        assert len(here.runtime.deployed) == 1


async def test_a_pod_deleted_while_its_device_is_away_waits_for_it() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.runtime.lose("lamp1")
        here.cluster.delete(PODS, "a", "default", grace_s=30)
        await asyncio.sleep(100)
        assert here.pod() is not None
        here.runtime.join(profile_of("lamp1"))
        await here.until(lambda: here.pod() is None, within_s=1)
        assert here.runtime.all["lamp1"].services == {}


async def test_a_pod_that_never_was_on_its_device_does_not_wait_for_it() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.node)
        here.runtime.lose("lamp1")
        here.add_pod()
        await asyncio.sleep(1)
        here.cluster.delete(PODS, "a", "default", grace_s=30)
        await here.until(lambda: here.pod() is None, within_s=1)


async def test_a_pod_deleted_by_force_loses_its_service_when_the_device_is_back() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.runtime.lose("lamp1")
        here.cluster.delete(PODS, "a", "default", grace_s=0)
        await asyncio.sleep(10)
        assert here.runtime.all["lamp1"].services
        here.runtime.join(profile_of("lamp1"))
        await here.until(lambda: not here.runtime.all["lamp1"].services, within_s=1)


async def test_a_device_that_does_not_answer_does_not_hold_up_another() -> None:
    async with world() as here:
        for number in range(300):
            here.runtime.join(profile_of(f"deaf{number}")).deaf = True
            here.add_pod(f"deaf{number}", node=f"gw-deaf{number}")
        await asyncio.sleep(5)
        for name in ("lamp1", "lamp2"):
            here.runtime.join(profile_of(name))
            here.add_pod(name, node=f"gw-{name}")
            await here.until(lambda: here.is_ready(name), within_s=2)  # noqa: B023
            await here.until(lambda: here.waiting("deaf0") == "DeviceUnreachable", within_s=200)


async def test_an_unreachable_device_is_tried_at_once_when_it_registers_again() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        device.deaf = True
        here.add_pod()
        await here.until(lambda: here.waiting() == "DeviceUnreachable", within_s=100)
        device.deaf = False
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.is_ready, within_s=1)


async def test_a_device_that_has_changed_may_take_what_it_did_not() -> None:
    async with world() as here:
        here.artifacts.add(IMAGE, manifest=ServiceManifest(name="average", version=1, sensors=("lamp",)))
        device = here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(lambda: here.waiting() == "MissingCapability")
        changed = msgspec.structs.replace(device.profile, capabilities=("lamp",))
        here.kubelet.device_joined(changed)
        await here.until(here.is_ready, within_s=1)


# The gateway and the API server


async def test_a_restart_of_the_gateway_restarts_nothing() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        await here.stop()
        writes, pulls = here.writes("/pods/"), len(here.artifacts.pulls)
        await here.start()
        await asyncio.sleep(20)
        assert here.is_ready(), "the registration may still be alive"
        here.runtime.join(profile_of("lamp1"))
        await asyncio.sleep(20)
        assert here.is_ready()
        assert len(here.runtime.deployed) == 1
        assert (here.writes("/pods/"), len(here.artifacts.pulls)) == (writes, pulls)


async def test_a_gateway_killed_before_it_wrote_the_status_finds_the_service() -> None:
    async with world() as here:
        device = here.runtime.join(profile_of("lamp1"))
        device.deploy_s = 5
        here.add_pod()
        await here.until(lambda: here.runtime.deployed)
        here.cluster.down = True
        await here.until(lambda: device.services, within_s=10)
        await here.stop()
        here.cluster.down = False
        await here.start()
        here.runtime.join(profile_of("lamp1"))
        await here.until(here.is_ready)
        assert len(here.runtime.deployed) == 1


async def test_what_happens_while_the_api_server_is_away_is_written_afterwards() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.cluster.down = True
        await asyncio.sleep(5)
        here.runtime.crash("lamp1", 1000, "boom")
        await asyncio.sleep(60)
        assert here.is_ready()
        here.cluster.down = False
        await here.until(lambda: here.waiting() == "CrashLoopBackOff", within_s=90)
        assert len(here.runtime.deployed) == 1


async def test_a_pod_of_a_node_that_somebody_deleted_goes_on() -> None:
    async with world() as here:
        here.runtime.join(profile_of("lamp1"))
        here.add_pod()
        await here.until(here.is_ready)
        here.cluster.delete(NODES, "gw-lamp1")
        await here.until(here.node, within_s=1)
        assert here.runtime.all["lamp1"].services[1000].phase is ServicePhase.RUNNING
