"""A local cluster is a real Kubernetes: versions, rights, admission, scheduling, and nothing open without need."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

WORKLOAD = """
apiVersion: v1
kind: Namespace
metadata: {name: claims}
---
apiVersion: v1
kind: Node
metadata: {name: lamppost}
status:
  capacity: {cpu: "1", memory: 1Gi, pods: "5"}
  allocatable: {cpu: "1", memory: 1Gi, pods: "5"}
  conditions: [{type: Ready, status: "True"}]
---
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: lamp}
spec:
  selectors: [{cel: {expression: device.driver == "lamps.example.org"}}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: lamppost-lamps}
spec:
  driver: lamps.example.org
  nodeName: lamppost
  pool: {name: lamppost, generation: 1, resourceSliceCount: 1}
  devices: [{name: lamp-0}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: lamp, namespace: claims}
spec:
  devices: {requests: [{name: lamp, exactly: {deviceClassName: lamp}}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: claims}
---
apiVersion: v1
kind: Pod
metadata: {name: light, namespace: claims}
spec:
  containers: [{name: light, image: example.org/light, resources: {claims: [{name: lamp}]}}]
  resourceClaims: [{name: lamp, resourceClaimName: lamp}]
  tolerations: [{operator: Exists}]
"""


@pytest.fixture
def workload(cluster: Any) -> Iterator[None]:
    cluster.run("apply", "--server-side", "-f", "-", stdin=WORKLOAD)
    yield
    # A pod on a node without a kubelet is never confirmed gone.
    cluster.run("delete", "pod", "light", "--namespace=claims", "--grace-period=0", "--force")
    cluster.run("delete", "-f", "-", "--ignore-not-found", "--wait=false", stdin=WORKLOAD)


def test_both_ends_say_the_version_of_go_mod(cluster: Any) -> None:
    versions = json.loads(cluster.run("version", "--output=json").stdout)
    assert cluster.kubernetes_version == "v1.36.3"
    assert versions["clientVersion"]["gitVersion"] == cluster.kubernetes_version
    assert versions["serverVersion"]["gitVersion"] == cluster.kubernetes_version
    assert versions["serverVersion"]["minor"] == "36"


def test_only_the_api_server_listens(cluster: Any) -> None:
    port = int(cluster.url.rpartition(":")[2])
    assert listening(cluster.control_plane_pid) == {("0100007F", port)}


def test_etcd_is_reached_in_a_private_folder_only(cluster: Any) -> None:
    run = cluster.data_dir / "run"
    sockets = [path for path in run.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
    assert len(sockets) == 2
    for folder in (cluster.data_dir, run, cluster.data_dir / "pki", cluster.data_dir / "etcd"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_file_is_for_others(cluster: Any) -> None:
    folders = [cluster.data_dir, cluster.data_dir / "pki", *cluster.data_dir.glob("etcd/**")]
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    assert len(files) > 12
    assert {path: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files} == dict.fromkeys(files, 0)


def test_scheduler_allocates_devices(cluster: Any, workload: None) -> None:
    cluster.run("wait", "pod/light", "--namespace=claims", "--for=condition=PodScheduled", "--timeout=30s")
    pod = json.loads(cluster.run("get", "pod", "light", "--namespace=claims", "--output=json").stdout)
    claim = json.loads(cluster.run("get", "resourceclaim", "lamp", "--namespace=claims", "--output=json").stdout)
    assert pod["spec"]["nodeName"] == "lamppost"
    assert claim["status"]["allocation"]["devices"]["results"][0]["device"] == "lamp-0"


def test_controllers_work(cluster: Any) -> None:
    cluster.run("create", "namespace", "controllers")
    cluster.run(
        "create", "deployment", "web", "--image=example.org/web", "--replicas=2", "--namespace=controllers"
    )
    cluster.run(
        "wait", "deployment/web", "--namespace=controllers", "--for=jsonpath={.status.replicas}=2", "--timeout=30s"
    )
    cluster.run("delete", "namespace", "controllers", "--timeout=30s")


def test_a_node_identity_is_restricted_to_its_node(cluster: Any, workload: None) -> None:
    identity = ("--as=system:node:lamppost", "--as-group=system:nodes")
    own = cluster.run("label", "node", "lamppost", "lit=yes", *identity, check=False)
    assert own.returncode == 0, own.stderr
    other = cluster.run("create", "-f", "-", *identity, check=False, stdin=OTHER_NODE)
    assert 'is not allowed to modify node "other"' in other.stderr
    secrets = cluster.run("get", "secrets", "--namespace=claims", *identity, check=False)
    assert "Forbidden" in secrets.stderr


OTHER_NODE = """
apiVersion: v1
kind: Node
metadata: {name: other}
"""


def test_gateway_may_do_exactly_what_its_roles_say(cluster: Any) -> None:
    for namespace, roles in (("default", ["clusterrole/fita-gateway"]), ("kube-node-lease", BOTH_ROLES)):
        expected: set[tuple[str, str, str]] = set()
        for role in (*roles, "clusterrole/system:basic-user", "clusterrole/system:discovery"):
            found = cluster.run("get", role, f"--namespace={namespace}", "--output=json")
            expected |= granted(json.loads(found.stdout)["rules"])
        review = SELF_REVIEW % namespace
        answer = cluster.run_as(
            cluster.gateway_kubeconfig, "create", "--validate=false", "--output=json", "-f", "-", stdin=review
        )
        assert granted(json.loads(answer.stdout)["status"]["resourceRules"]) == expected


BOTH_ROLES = ["clusterrole/fita-gateway", "role/fita-gateway"]
SELF_REVIEW = """
apiVersion: authorization.k8s.io/v1
kind: SelfSubjectRulesReview
spec: {namespace: %s}
"""


def granted(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Every (group, resource, verb) that the rules give."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule.get("apiGroups", [])
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("create nodes", "yes"),
        ("patch nodes --subresource=status", "yes"),
        ("patch pods --subresource=status", "yes"),
        ("watch devices.fita.fhp.pt", "yes"),
        ("create leases --namespace=kube-node-lease", "yes"),
        ("create leases --namespace=default", "no"),
        ("delete nodes", "no"),
        ("create pods", "no"),
        ("list secrets", "no"),
        ("create deployments", "no"),
        ("bind clusterroles", "no"),
        ("impersonate users", "no"),
        ("* *", "no"),
    ],
)
def test_gateway_can_i(cluster: Any, request_: str, answer: str) -> None:
    result = cluster.run_as(cluster.gateway_kubeconfig, "auth", "can-i", *request_.split())
    assert result.stdout.strip() == answer


def test_gateway_is_who_its_certificate_says(cluster: Any) -> None:
    answer = cluster.run_as(cluster.gateway_kubeconfig, "auth", "whoami", "--output=json")
    user = json.loads(answer.stdout)["status"]["userInfo"]
    assert user["username"] == "fita:gateway"
    assert set(user["groups"]) == {"fita:gateways", "system:authenticated"}


@pytest.mark.parametrize(("path", "status"), [("/readyz", 200), ("/api/v1/pods", 403), ("/metrics", 403)])
def test_nobody_gets_in_without_a_certificate(cluster: Any, path: str, status: int) -> None:
    config = json.loads(cluster.admin_kubeconfig.read_bytes())
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    if status == 200:
        with opener.open(cluster.url + path, timeout=10) as response:
            assert response.status == status
    else:
        with pytest.raises(urllib.error.HTTPError, match=str(status)) as caught:
            opener.open(cluster.url + path, timeout=10)
        caught.value.close()


def listening(pid: int) -> set[tuple[str, int]]:
    """Address (hexadecimal, as in /proc) and port of every TCP socket on which a process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            continue  # closed meanwhile
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found
