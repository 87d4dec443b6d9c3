"""What a pod's status says: goldens of stored pod and device's word to the patch, and properties of all of them.

A golden is ``golden/<name>.input.yaml`` (`pod` as stored, `view` of the device) and ``golden/<name>.output.yaml``
(the patch of the status). After a change on purpose: ``FITA_WRITE_GOLDENS=1 pytest <this file>``; read the diff.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.object_store import patched
from fita.kube.client import PatchStrategy
from fita.kubelet.pod.failure import Failure, PodReason
from fita.kubelet.pod.status import PodView, lost_status, pod_status, refused_status, status_patch
from fita.model.kubernetes import Pod, PodStatus
from fita.model.runtime import DeployReason, ServicePhase, ServiceStatus, WorkloadId

GOLDENS = Path(__file__).parent / "golden"
NAMES = sorted(path.name.removesuffix(".input.yaml") for path in GOLDENS.glob("*.input.yaml"))
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def read_input(name: str) -> tuple[Pod, PodView]:
    text = yaml.safe_load((GOLDENS / f"{name}.input.yaml").read_text(encoding="utf-8"))
    return msgspec.convert(text["pod"], Pod), msgspec.convert(text["view"], PodView)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    pod, view = read_input(name)
    patch = status_patch(pod, pod_status(pod, view, now=NOW))
    path = GOLDENS / f"{name}.output.yaml"
    if os.environ.get("FITA_WRITE_GOLDENS"):
        path.write_text(yaml.safe_dump(patch, sort_keys=False), encoding="utf-8")
    assert patch == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_there_are_goldens_and_no_forgotten_ones() -> None:
    assert len(NAMES) > 10
    assert {path.name for path in GOLDENS.iterdir()} == {
        f"{name}.{side}.yaml" for name in NAMES for side in ("input", "output")
    }


# Properties

SERVICES = st.builds(
    ServiceStatus,
    workload=st.just(WorkloadId("u-1/main")),
    instance=st.sampled_from((1000, 1001)),
    name=st.just("average"),
    version=st.just("1"),
    digest=st.sampled_from(("sha256:aa", "sha256:bb")),
    phase=st.sampled_from(ServicePhase),
    uptime_s=st.none() | st.integers(0, 10_000),
    restart_count=st.integers(0, 3),
    error=st.sampled_from(("", "boom")),
)
FAILURES = st.builds(
    Failure,
    reason=st.sampled_from((*PodReason, *DeployReason)),
    message=st.sampled_from(("why", "why not")),
    retryable=st.booleans(),
)
VIEWS = st.builds(
    PodView,
    service=st.none() | SERVICES,
    image=st.sampled_from(("", "fita.local/average:1")),
    image_id=st.sampled_from(("", "fita.local/average@sha256:aa")),
    container_id=st.sampled_from(("", "fita://lamp1/1000")),
    failure=st.none() | FAILURES,
    starts=st.integers(0, 3),
    address_ip=st.sampled_from(("", "10.0.0.7")),
)
POLICIES = st.sampled_from(("Always", "OnFailure", "Never"))


def apply(pod: Pod, wanted: PodStatus) -> Pod:
    """The pod after the patch, as the API server merges it."""
    stored = msgspec.json.decode(msgspec.json.encode(pod))
    body = {"status": msgspec.json.decode(msgspec.json.encode(status_patch(pod, wanted)))}
    return msgspec.convert(patched(stored, body, PatchStrategy.STRATEGIC), Pod)


def new_pod(policy: str) -> Pod:
    pod, _ = read_input("creating")
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, restart_policy=policy))


@given(policy=POLICIES, views=st.lists(VIEWS, min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_the_status_follows_the_device_and_is_written_once(policy: str, views: list[PodView]) -> None:
    pod = new_pod(policy)
    for view in views:
        if pod.status.phase == "Failed":
            return
        before = pod.status
        pod = apply(pod, pod_status(pod, view, now=NOW))
        assert status_patch(pod, pod_status(pod, view, now=NOW)) == {}, "the same again is no news"
        ready = {c.type: c.status for c in pod.status.conditions}["Ready"]
        container = pod.status.container_statuses[0]
        runs = view.service is not None and view.service.phase is ServicePhase.RUNNING
        assert (ready == "True") == container.ready == (container.state.running is not None)
        assert not container.ready or runs
        assert pod.status.phase != "Failed" or policy == "Never"
        assert before.phase != "Running" or pod.status.phase != "Pending", "the phase never goes back"
        states = (container.state.waiting, container.state.running, container.state.terminated)
        assert sum(state is not None for state in states) == 1
        if container.state.waiting is not None:
            assert container.state.waiting.reason
        assert pod.status.start_time == (before.start_time or "2026-03-01T12:00:00Z")


@given(policy=POLICIES, view=VIEWS)
@settings(max_examples=100, deadline=None)
def test_a_lost_device_makes_pods_unready_and_its_return_undoes_that(policy: str, view: PodView) -> None:
    pod = new_pod(policy)
    pod = apply(pod, pod_status(pod, view, now=NOW))
    was = {c.type: c.status for c in pod.status.conditions}["Ready"]
    lost = apply(pod, lost_status(pod, "gone", now=NOW))
    conditions = {c.type: c for c in lost.status.conditions}
    assert conditions["Ready"].status == "False"
    assert lost.status.container_statuses == pod.status.container_statuses
    assert status_patch(lost, lost_status(lost, "gone", now=NOW)) == {}
    if pod.status.phase != "Failed":
        back = apply(lost, pod_status(lost, view, now=NOW))
        assert {c.type: c.status for c in back.status.conditions}["Ready"] == was


def test_conditions_of_others_stay() -> None:
    pod, view = read_input("running")
    gate = msgspec.structs.replace(pod.status.conditions[0], type="example.org/gate")
    pod = msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, conditions=[gate]))
    after = apply(pod, pod_status(pod, view, now=NOW))
    assert gate in after.status.conditions


def test_a_refused_pod_has_failed() -> None:
    pod, _ = read_input("creating")
    failure = Failure(reason=PodReason.OUT_OF_MEMORY, message="too much", retryable=False, final=True)
    after = apply(pod, refused_status(pod, failure, now=NOW))
    assert (after.status.phase, after.status.reason) == ("Failed", "OutOfmemory")
    assert after.status.message == "Pod was rejected: too much"
