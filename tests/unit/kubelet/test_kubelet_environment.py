"""The environment of a service, its image's credentials, and refusals in a kubelet's words."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.memory_cluster import MemoryCluster
from fita.base.errors import FitaError
from fita.kube.errors import ConnectionFailedError
from fita.kube.resource import CONFIG_MAPS, SECRETS
from fita.kubelet.errors import PodFailureError
from fita.kubelet.pod.environment import EnvironmentReader, expand
from fita.kubelet.pod.failure import Failure, deploy_failure, pull_failure
from fita.kubelet.pod.image import digest_of_image_id, image_id, pull_policy, read_credentials
from fita.model.kubernetes import Container, Pod
from fita.model.runtime import DeployError, DeployReason
from fita.oci.errors import ArtifactNotFoundError, IntegrityError, UnauthorizedError
from fita.oci.reference import parse_reference

pytestmark = pytest.mark.looptime


def secret_data(**values: str | bytes) -> dict[str, str]:
    encoded = {key: value.encode() if isinstance(value, str) else value for key, value in values.items()}
    return {key: base64.b64encode(value).decode() for key, value in encoded.items()}


def pod_of(**container: object) -> Pod:
    body = {
        "metadata": {
            "name": "a",
            "namespace": "default",
            "uid": "u-1",
            "labels": {"app": "average"},
            "annotations": {"example.org/note": "roof"},
        },
        "spec": {
            "nodeName": "gw-lamp1",
            "serviceAccountName": "default",
            "containers": [{"name": "main", "image": "x", **container}],
        },
    }
    return msgspec.convert(body, Pod)


async def environment(cluster: MemoryCluster, **container: object) -> dict[str, str]:
    pod = pod_of(**container)
    allocatable = {"memory": "64Ki", "cpu": "1000m"}
    reader = EnvironmentReader(
        cluster.client(), pod, pod.spec.containers[0], address_ip="10.0.0.7", allocatable=allocatable
    )
    return await reader.read()


def cluster_with_settings() -> MemoryCluster:
    cluster = MemoryCluster()
    where = {"name": "settings", "namespace": "default"}
    cluster.put(CONFIG_MAPS, {"metadata": where, "data": {"mode": "eco", "level": "3"}})
    cluster.put(SECRETS, {"metadata": where, "data": secret_data(key="s3cret", raw=b"\xff\xfe")})
    return cluster


def variable(name: str, **source: object) -> dict[str, object]:
    return {"name": name, "valueFrom": source}


async def test_values_come_from_everywhere() -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$(LEVEL)-$(NOBODY)-$$(A)"},
        variable("MODE", configMapKeyRef={"name": "settings", "key": "mode"}),
        variable("KEY", secretKeyRef={"name": "settings", "key": "key"}),
        variable("NAME", fieldRef={"fieldPath": "metadata.name"}),
        variable("APP", fieldRef={"fieldPath": "metadata.labels['app']"}),
        variable("NOTE", fieldRef={"fieldPath": "metadata.annotations['example.org/note']"}),
        variable("IP", fieldRef={"fieldPath": "status.podIP"}),
        variable("LIMIT", resourceFieldRef={"resource": "limits.memory", "divisor": "1Ki"}),
        variable("CPU", resourceFieldRef={"resource": "limits.cpu"}),
        variable("MAYBE", configMapKeyRef={"name": "nobody", "key": "x", "optional": True}),
    ]
    env_from = [
        {"configMapRef": {"name": "settings"}, "prefix": "C_"},
        {"secretRef": {"name": "no", "optional": True}},
    ]
    assert await environment(
        cluster_with_settings(), env=env, envFrom=env_from, resources={"limits": {"memory": "16Ki"}}
    ) == {
        "C_mode": "eco",
        "C_level": "3",
        "A": "1",
        "B": "1-$(LEVEL)-$(NOBODY)-$(A)",
        "MODE": "eco",
        "KEY": "s3cret",
        "NAME": "a",
        "APP": "average",
        "NOTE": "roof",
        "IP": "10.0.0.7",
        "LIMIT": "16",
        "CPU": "1",
    }


@pytest.mark.parametrize(
    ("source", "message", "retryable"),
    [
        ({"configMapKeyRef": {"name": "nobody", "key": "x"}}, 'ConfigMap "nobody" not found', True),
        ({"secretKeyRef": {"name": "settings", "key": "x"}}, 'Secret "settings" has no key "x"', True),
        (
            {"secretKeyRef": {"name": "settings", "key": "raw"}},
            'the key "raw" of Secret "settings" holds no text',
            True,
        ),
        ({"fieldRef": {"fieldPath": "spec.hostname"}}, "asks for spec.hostname, which is no field", False),
        ({"resourceFieldRef": {"resource": "limits.gpu"}}, "asks for limits.gpu, which is no resource", False),
        ({"fileKeyRef": {"path": "x"}}, "has a source that a device cannot use", False),
    ],
)
async def test_what_cannot_be_resolved_says_what(source: dict[str, object], message: str, retryable: bool) -> None:
    with pytest.raises(PodFailureError) as caught:
        await environment(cluster_with_settings(), env=[variable("X", **source)])
    failure = caught.value.failure
    assert message in failure.message
    assert (failure.reason, failure.retryable) == ("CreateContainerConfigError", retryable)


async def test_a_missing_object_is_missing_for_those_who_need_it_only() -> None:
    sources = [{"configMapRef": {"name": "no", "optional": True}}, {"configMapRef": {"name": "no"}}]
    assert await environment(MemoryCluster(), envFrom=sources[:1]) == {}
    with pytest.raises(PodFailureError, match="not found"):
        await environment(MemoryCluster(), envFrom=sources)


async def test_rights_that_are_missing_are_the_pods_trouble_and_an_absent_api_server_is_not() -> None:
    cluster = cluster_with_settings()
    cluster.refused["configmaps"] = 403
    with pytest.raises(PodFailureError, match="may not read"):
        await environment(cluster, envFrom=[{"configMapRef": {"name": "settings"}}])
    cluster.down = True
    with pytest.raises(ConnectionFailedError):
        await environment(cluster, envFrom=[{"configMapRef": {"name": "settings"}}])


async def test_each_object_is_read_once() -> None:
    cluster = cluster_with_settings()
    reads: list[str] = []
    answer = cluster.answer

    async def count(method: str, path: str, *rest: object) -> object:
        reads.append(path)
        return await answer(method, path, *rest)  # type: ignore[arg-type]

    cluster.answer = count  # type: ignore[method-assign,assignment]
    env = [variable(name, configMapKeyRef={"name": "settings", "key": "mode"}) for name in "ABC"]
    assert await environment(cluster, env=env) == {"A": "eco", "B": "eco", "C": "eco"}
    assert len(reads) == 1


@given(st.text(alphabet="$()AB", max_size=20))
@settings(max_examples=200, deadline=None)
def test_expansion_never_fails_and_leaves_plain_text(text: str) -> None:
    result = expand(text, {"A": "a", "B": "b"})
    if "$" not in text:
        assert result == text


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "a"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$a"),
        ("$(C)", "$(C)"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "a"}) == expanded


# Images


async def test_credentials_of_image_pull_secrets() -> None:
    cluster = MemoryCluster()
    config = json.dumps({"auths": {"registry.example": {"username": "u", "password": "p"}}})
    legacy = json.dumps({"old.example": {"username": "o", "password": "p"}})
    for name, data in (
        ("new", secret_data(**{".dockerconfigjson": config})),
        ("old", secret_data(**{".dockercfg": legacy})),
        ("other", secret_data(key="x")),
        ("damaged", {".dockerconfigjson": "!"}),
    ):
        cluster.put(SECRETS, {"metadata": {"name": name, "namespace": "default"}, "data": data})
    names = ("new", "old", "other", "damaged", "missing")
    pod = pod_of()
    spec = msgspec.convert({"imagePullSecrets": [{"name": name} for name in names]}, type(pod.spec))
    keychain, problems = await read_credentials(cluster.client(), msgspec.structs.replace(pod, spec=spec))
    for registry, user in (("registry.example", "u"), ("old.example", "o")):
        found = keychain.find(parse_reference(f"{registry}/x:1"))
        assert found is not None
        assert found.username == user
    assert [problem.split('"')[1] for problem in problems] == ["other", "damaged", "missing"]
    assert "p" not in {word for problem in problems for word in problem.split()}


def test_a_name_that_is_no_reference_is_left_to_the_pull() -> None:
    assert pull_policy(Container(name="a", image="Not A Name")) == "IfNotPresent"
    assert pull_policy(Container(name="a", image="x@sha256:" + "a" * 64)) == "IfNotPresent"


def test_image_ids() -> None:
    assert image_id("registry:5000/average:1", "sha256:aa") == "registry:5000/average@sha256:aa"
    assert digest_of_image_id("registry:5000/average@sha256:aa") == "sha256:aa"
    assert digest_of_image_id("") == ""


# Failures


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnauthorizedError("no"), "ErrImagePull"),
        (IntegrityError("damaged"), "IntegrityCheckFailed"),
        (ArtifactNotFoundError("x", "no", hint="push it"), "ErrImagePull"),
    ],
)
def test_pull_failures_keep_message_and_hint(error: FitaError, reason: str) -> None:
    failure = pull_failure(error, pull_policy="IfNotPresent")  # type: ignore[arg-type]
    assert (failure.reason, failure.message) == (reason, str(error))


def test_only_pulls_back_off_by_name() -> None:
    failure = Failure(reason="ErrImagePull", message="no")
    assert failure.again() == Failure(reason="ImagePullBackOff", message="Back-off pulling image: no")
    refused = deploy_failure(DeployError(DeployReason.OUT_OF_MEMORY, "full", retryable=True))
    assert refused.again() == refused
