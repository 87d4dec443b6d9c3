from __future__ import annotations

import msgspec

from fita.base.resource import resource_folder
from fita.model.kubernetes import KUBERNETES_VERSION, Node, Pod
from fita.model.service import ServiceManifest

POD = {
    "kind": "Pod",
    "metadata": {"name": "average-0", "namespace": "default", "uid": "u1", 
                 "deletionTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "kubectl"}]},
    "spec": {"nodeName": "gw-lamp1", "containers": [
        {"name": "main", "image": "fita.local/average:1", "resources": {"limits": {"memory": "16Ki", "cpu": 1}},
         "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}]},
    "status": {"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [
        {"name": "main", "imageID": "x@sha256:1", "containerID": "embserve://1000",
         "state": {"terminated": {"exitCode": 1, "containerID": "embserve://1000"}}}]},
}  # fmt: skip


def test_reads_the_names_that_do_not_follow_camel_case() -> None:
    pod = msgspec.convert(POD, Pod)
    status = pod.status.container_statuses[0]
    assert (pod.status.pod_ip, status.image_id, status.container_id) == (
        "10.0.0.7",
        "x@sha256:1",
        "embserve://1000",
    )
    assert status.state.terminated is not None
    assert status.state.terminated.container_id == "embserve://1000"
    assert pod.metadata.deletion_timestamp is not None
    source = pod.spec.containers[0].env[0].value_from
    assert source is not None
    assert source.field_ref is not None
    assert source.field_ref.field_path == "spec.nodeName"


def test_the_least_that_kubernetes_sends_is_enough() -> None:
    assert msgspec.convert({"metadata": {"name": "n"}}, Node).spec.taints == []
    assert msgspec.convert({"metadata": {"name": "p"}}, Pod).status.phase == "Pending"


def test_reads_a_manifest_of_the_older_form_and_writes_it_back_unchanged() -> None:
    older = {
        "name": "average",
        "version": 3,
        "data_model": ["lwm2m:urn:oma:lwm2m:ext:3303"],
        "dependencies": {"sdk_api": 1},
        "inputs": [{"key": "limit", "type": 0}],
        "outputs": [{"key": "average", "type": 1, "data_model_mapping": "lwm2m:3303/x/5700"}],
    }
    manifest = msgspec.convert(older, ServiceManifest)
    written = msgspec.json.decode(msgspec.json.encode(manifest))
    assert {key: written[key] for key in older} == older


def test_the_kubelet_follows_the_control_plane_that_comes_with_it() -> None:
    required = (resource_folder("controlplane") / "go.mod").read_text(encoding="utf-8")
    assert f"require k8s.io/kubernetes {KUBERNETES_VERSION}\n" in required
