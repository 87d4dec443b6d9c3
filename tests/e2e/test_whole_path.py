"""What a Kubernetes user expects of a device: kubectl against the real control plane and real device instances."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from field import Field, demo_service, open_field

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FITA_MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: temperature-average
spec:
  replicas: 1
  selector:
    matchLabels:
      app: temperature-average
  template:
    metadata:
      labels:
        app: temperature-average
    spec:
      containers:
        - name: temperature-average
          image: fita.local/average:1
      nodeSelector:
        extra.resources.fhp/temperature_sensor: "true"
      tolerations:
        - key: "fita.fhp.pt/type"
          operator: "Equal"
          value: "far-edge"
          effect: "NoSchedule"
"""


@pytest.fixture
async def field(cluster, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Field]:
    async with open_field(
        tmp_path,
        kubectl=cluster.kubectl,
        admin=cluster.admin_kubeconfig,
        kubeconfig=cluster.gateway_kubeconfig,
        name="path",
    ) as opened:
        yield opened


async def test_a_device_is_a_node_as_kubectl_shows_it(field: Field) -> None:
    await field.boot("b1_node1", capabilities=("temperature_sensor", "light_sensor"))

    wide = await field.run("get", "nodes", "path-b1-node1", "-o", "wide", "--no-headers")
    assert wide.split()[:3] == ["path-b1-node1", "Ready", "<none>"]
    node = await field.get("node", "path-b1-node1")
    labels = node["metadata"]["labels"]
    assert labels["extra.resources.fhp/temperature_sensor"] == "true"
    assert labels["extra.resources.fhp/light_sensor"] == "true"
    assert labels["node.kubernetes.io/exclude-from-external-load-balancers"] == "true"
    assert {"key": "fita.fhp.pt/type", "value": "far-edge", "effect": "NoSchedule"} in node["spec"]["taints"]
    assert node["status"]["capacity"]["memory"] == "128Ki"
    assert node["status"]["nodeInfo"]["operatingSystem"] == "micropython"
    described = await field.run("describe", "node", "path-b1-node1")
    assert "far-edge" in described
    assert "Lease:" in described


async def test_a_manifest_of_fita_runs_unchanged(field: Field) -> None:
    await field.build(demo_service("average"))
    await field.boot("b1_node1")

    await field.apply(FITA_MANIFEST)
    await field.run("rollout", "status", "deployment/temperature-average", "--timeout=60s")

    (pod,) = await field.pods("app=temperature-average")
    assert pod["spec"]["nodeName"] == "path-b1-node1"
    assert pod["metadata"]["annotations"]["embserve.fhp.pt/runtime"] == "embserve"
    await field.until(lambda: _outputs(field), {pod["metadata"]["name"]}, what="its value arrives")


async def _outputs(field: Field) -> set[str]:
    return {output.pod for output in await field.outputs()}


async def test_scale_set_image_rollout_undo_and_delete(field: Field) -> None:
    await field.build(demo_service("average"))
    await field.build(demo_service("average-v2"))
    for endpoint in ("b1_node1", "b1_node2"):
        await field.boot(endpoint)
    deployment = "deployment/average"

    await field.run("apply", "-f", str(demo_service("deployment.yaml")))
    await field.run("scale", deployment, "--replicas=2")
    await field.run("rollout", "status", deployment, "--timeout=60s")
    pods = await field.pods("app=average")
    assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["path-b1-node1", "path-b1-node2"]

    await field.run("set", "image", deployment, "average=fita.local/average:2")
    await field.run("rollout", "status", deployment, "--timeout=60s")
    await field.until(lambda: _keys(field), {"average", "lowest", "highest"}, what="the new version's outputs")

    await field.run("rollout", "undo", deployment)
    await field.run("rollout", "status", deployment, "--timeout=60s")
    await field.until(lambda: _keys(field), {"average"}, what="the old version's outputs only")

    await field.run("delete", deployment)
    await field.run("wait", "--for=delete", "pod", "-l", "app=average", "--timeout=60s")
    assert await field.outputs() == []


async def _keys(field: Field) -> set[str]:
    return {output.key for output in await field.outputs()}


async def test_describe_and_events_tell_the_story_of_a_pod(field: Field) -> None:
    image = await field.build(demo_service("average"))
    await field.boot("b1_node1")
    await field.run_pod("story", image)
    await field.run("wait", "--for=condition=Ready", "pod/story", "--timeout=60s")

    described = await field.run("describe", "pod", "story")
    for reason in ("Scheduled", "Pulled", "Started"):
        assert reason in described
    wide = await field.run("get", "pods", "story", "-o", "wide", "--no-headers")
    assert wide.split()[:4] == ["story", "1/1", "Running", "0"]
    assert "path-b1-node1" in wide


async def test_cordon_and_uncordon(field: Field) -> None:
    image = await field.build(demo_service("average"))
    await field.boot("b1_node1")

    await field.run("cordon", "path-b1-node1")
    await field.run_pod("later", image)
    await field.until(
        lambda: _unschedulable(field, "later"), "Unschedulable", what="the scheduler leaves the node out"
    )
    await field.run("uncordon", "path-b1-node1")
    await field.until_pod("later", "Running")


async def _unschedulable(field: Field, name: str) -> str:
    conditions = (await field.get("pod", name))["status"].get("conditions", [])
    return next((c.get("reason", "") for c in conditions if c["type"] == "PodScheduled"), "")


async def test_drain_moves_a_service_to_another_device(field: Field) -> None:
    await field.build(demo_service("average"))
    for endpoint in ("b1_node1", "b1_node2"):
        await field.boot(endpoint)
    await field.apply(FITA_MANIFEST)
    await field.run("rollout", "status", "deployment/temperature-average", "--timeout=60s")
    (before,) = await field.pods("app=temperature-average")

    await field.run("drain", before["spec"]["nodeName"], "--ignore-daemonsets", "--timeout=60s")

    await field.run("rollout", "status", "deployment/temperature-average", "--timeout=60s")
    (after,) = await field.pods("app=temperature-average")
    assert after["spec"]["nodeName"] != before["spec"]["nodeName"]
    await field.until(lambda: _outputs(field), {after["metadata"]["name"]}, what="only the new pod has values")


async def test_a_dead_device_is_not_ready_and_comes_back_with_its_service(field: Field) -> None:
    image = await field.build(demo_service("average"))
    await field.boot("b1_node1", lifetime_s=4)
    await field.run_pod("stays", image)
    await field.until_pod("stays", "Running")
    uid = (await field.get("pod", "stays"))["metadata"]["uid"]

    await field.fleet.kill("b1_node1")
    await field.until_node_ready("b1_node1", "Unknown")
    assert await field.outputs() == []
    await field.fleet.restart("b1_node1")

    await field.until_node_ready("b1_node1")
    await field.until_pod("stays", "Running")
    assert (await field.get("pod", "stays"))["metadata"]["uid"] == uid
    await field.until(lambda: _outputs(field), {"stays"}, what="its value arrives again")
