"""The kubelet against any order of events, in virtual time: whatever happened, it converges, and it never lies."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import looptime
import structlog
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fakes.device_runtime import START, artifact_of, profile_of
from fakes.kubelet_world import World
from fita.kube.resource import LEASES, NODES, PODS, RawObject
from fita.model.runtime import DeployError, DeployReason, ServicePhase

DEVICES = ("lamp0", "lamp1")
PODS_NAMES = ("p0", "p1", "p2", "p3")
IMAGES = ("fita.local/average:1", "fita.local/average:2", "fita.local/blink:1")
SERVICE_EVENTS = ("crash", "restart", "vanish")
CONVERGED_S = 400.0
"""Longer than the longest backoff (300 s and its jitter), so that every attempt has had its turn."""


class KubeletMachine(RuleBasedStateMachine):
    """One gateway, two devices, some pods; anything may fail at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop()
        self.logs = structlog.testing.capture_logs()
        self.logs.__enter__()
        self.foreign: set[tuple[str, int]] = set()
        self.quiet = False

    @initialize()
    def start(self) -> None:
        async def start() -> None:
            self.world = World()
            for image in IMAGES:
                self.world.artifacts.add(image)
            await self.world.start()
            for device in DEVICES:
                self.world.runtime.join(profile_of(device, max_services=8))

        self.loop.run_until_complete(start())
        self.settle(1)

    def settle(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def pods(self) -> list[RawObject]:
        return self.world.cluster.objects(PODS)

    def is_online(self, device: str) -> bool:
        return self.world.runtime.all[device].online

    # What users and controllers do

    @rule(
        name=st.sampled_from(PODS_NAMES),
        device=st.sampled_from(DEVICES),
        image=st.sampled_from(IMAGES),
        seconds=st.sampled_from((0, 1)),
    )
    def bind(self, name: str, device: str, image: str, seconds: int) -> None:
        self.quiet = False
        if self.world.pod(name) is None:
            self.world.add_pod(name, node=f"gw-{device}", image=image)
            self.settle(seconds)

    @rule(at=st.integers(0, 7), force=st.booleans())
    def delete(self, at: int, force: bool) -> None:
        self.quiet = False
        if pods := self.pods():
            name = pods[at % len(pods)]["metadata"]["name"]
            self.world.cluster.delete(PODS, name, "default", grace_s=0 if force else 30)

    @rule(at=st.integers(0, 7), image=st.sampled_from(IMAGES))
    def set_image(self, at: int, image: str) -> None:
        self.quiet = False
        if pods := self.pods():
            spec = {"containers": [{"name": "main", "image": image}]}
            self.world.cluster.patch(PODS, pods[at % len(pods)]["metadata"]["name"], {"spec": spec}, "default")

    @rule(device=st.sampled_from(DEVICES), delete=st.booleans())
    def disturb_node(self, device: str, delete: bool) -> None:
        """Somebody deletes it, or Kubernetes' node controller doubts it because leases were late."""
        self.quiet = False
        name = f"gw-{device}"
        if self.world.node(name) is None:
            return
        if delete:
            self.world.cluster.delete(NODES, name)
        else:
            conditions = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
            self.world.cluster.patch(NODES, name, {"status": {"conditions": conditions}}, subresource="status")

    # What happens to devices

    @rule(device=st.sampled_from(DEVICES))
    def join(self, device: str) -> None:
        self.quiet = False
        self.tell(lambda: self.world.runtime.join(profile_of(device, max_services=8)))

    @rule(device=st.sampled_from(DEVICES))
    def lose(self, device: str) -> None:
        self.quiet = False
        if self.is_online(device):
            self.tell(lambda: self.world.runtime.lose(device))

    @rule(device=st.sampled_from(DEVICES), deaf=st.booleans(), slow=st.booleans())
    def disturb(self, device: str, deaf: bool, slow: bool) -> None:
        self.quiet = False
        self.world.runtime.all[device].deaf = deaf
        self.world.runtime.all[device].deploy_s = 20 if slow else 0.1

    @rule(device=st.sampled_from(DEVICES), reason=st.sampled_from(DeployReason), retryable=st.booleans())
    def refuse_next(self, device: str, reason: DeployReason, retryable: bool) -> None:
        self.quiet = False
        self.world.runtime.all[device].errors.append(DeployError(reason, "refused", retryable=retryable))

    @rule(device=st.sampled_from(DEVICES), what=st.sampled_from(SERVICE_EVENTS), at=st.integers(0, 7))
    def disturb_service(self, device: str, what: str, at: int) -> None:
        self.quiet = False
        services = [i for i, s in self.world.runtime.all[device].services.items() if s.workload]
        if services and self.is_online(device):
            instance = services[at % len(services)]
            extra = ("boom",) if what == "crash" else ()
            self.tell(lambda: getattr(self.world.runtime, what)(device, instance, *extra))

    @precondition(lambda self: len(self.foreign) < 2)
    @rule(device=st.sampled_from(DEVICES))
    def install_foreign(self, device: str) -> None:
        self.foreign.add((device, self.world.runtime.install_foreign(device)))

    def tell(self, call: object) -> None:
        async def run() -> None:
            call()  # type: ignore[operator]

        self.loop.run_until_complete(run())

    # What happens to the gateway and to the API server

    @rule(down=st.booleans())
    def switch_api_server(self, down: bool) -> None:
        self.quiet = False
        if self.world.cluster.down != down:
            self.world.cluster.down = down

    @rule(gap_s=st.integers(min_value=0, max_value=30))
    def restart_gateway(self, gap_s: int) -> None:
        self.quiet = False
        self.loop.run_until_complete(self.world.stop())
        self.settle(gap_s)
        self.loop.run_until_complete(self.world.start())

    @rule(seconds=st.sampled_from((0.05, 0.2, 1, 10, 40)))
    def advance(self, seconds: float) -> None:
        self.settle(seconds)

    # What must be true

    @rule()
    def heal(self) -> None:
        """Every cause of trouble is gone: after the longest backoff everything is as it should be."""
        self.world.cluster.down = False
        self.settle(90)  # for nodes and pods to be followed again
        for name, device in self.world.runtime.all.items():
            device.deaf, device.deploy_s = False, 0.1
            device.errors.clear()
            if device.online or name == DEVICES[0]:
                self.tell(lambda name=name: self.world.runtime.join(profile_of(name, max_services=8)))
            for instance, service in list(device.services.items()):
                if service.phase is ServicePhase.CRASHED:
                    self.tell(lambda name=name, at=instance: self.world.runtime.restart(name, at))
        self.settle(CONVERGED_S)
        self.check()
        self.quiet = True

    @precondition(lambda self: self.quiet)
    @rule()
    def restart_in_peace(self) -> None:
        """A restart deploys nothing, and says nothing new of pods."""
        online = [name for name in DEVICES if self.is_online(name)]
        deployed = len(self.world.runtime.deployed)
        writes = self.world.writes("/pods/")
        self.loop.run_until_complete(self.world.stop())
        self.loop.run_until_complete(self.world.start())
        for name in online:
            self.tell(lambda name=name: self.world.runtime.join(profile_of(name, max_services=8)))
        self.settle(30)
        assert len(self.world.runtime.deployed) == deployed
        assert self.world.writes("/pods/") == writes
        self.check()

    def check(self) -> None:
        for name in DEVICES:
            self.check_node(name)
            self.check_services(name)
        for pod in self.pods():
            self.check_pod(pod)

    def check_node(self, device: str) -> None:
        node = self.world.node(f"gw-{device}")
        lease = self.world.cluster.get(LEASES, f"gw-{device}", "kube-node-lease")
        renewed_at = datetime.fromisoformat(lease["spec"]["renewTime"]) if lease else START
        age = self.world.now() - renewed_at
        if self.is_online(device):
            assert self.world.condition(node)["status"] == "True"
            assert age < timedelta(seconds=31)
        else:
            assert node is None or self.world.condition(node)["status"] == "Unknown"
            assert age > timedelta(seconds=60)

    def check_services(self, device: str) -> None:
        services = self.world.runtime.all[device].services
        assert {i for i, s in services.items() if not s.workload} == {i for d, i in self.foreign if d == device}
        if not self.is_online(device):
            return
        wanted = {
            f"{pod['metadata']['uid']}/main": artifact_of(pod["spec"]["containers"][0]["image"]).digest
            for pod in self.pods()
            if pod["spec"]["nodeName"] == f"gw-{device}"
        }
        assert {s.workload: s.digest for s in services.values() if s.workload} == wanted

    def check_pod(self, pod: RawObject) -> None:
        device = pod["spec"]["nodeName"].removeprefix("gw-")
        ready = self.world.condition(pod).get("status")
        if not self.is_online(device):
            # Pods of a node that is gone are deleted by Kubernetes' garbage collector, which is not here.
            assert ready != "True" or self.world.node(pod["spec"]["nodeName"]) is None
            return
        assert "deletionTimestamp" not in pod["metadata"]
        container = pod["status"]["containerStatuses"][0]
        assert ready == "True"
        assert container["image"] == pod["spec"]["containers"][0]["image"]
        assert container["state"].keys() == {"running"}
        assert self.world.condition(pod, "fita.fhp.pt/ImageCurrent").get("status", "True") == "True"

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.loop.run_until_complete(self.world.stop())
            self.logs.__exit__(None, None, None)
            self.loop.close()


TestKubeletMachine = KubeletMachine.TestCase
# Delays are jittered, so that a failure cannot be made smaller by trying parts of it again.
TestKubeletMachine.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
