from __future__ import annotations

import hashlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from lwm2m_bench import order

from fita.lwm2m.service.package import encode_package
from fita.model.platform import Platform
from fita.model.runtime import DeployError, DeployReason, ServiceDeployment, WorkloadId
from fita.model.service import Port, ServiceArtifact, ServiceManifest, ValueType


def package_or_none(deployment: ServiceDeployment) -> bytes | None:
    """None when the header does not fit."""
    try:
        return encode_package(deployment)
    except DeployError as error:
        if error.reason is not DeployReason.INVALID_PACKAGE:
            raise
        return None


def test_a_known_package_byte_for_byte() -> None:
    deployment = ServiceDeployment(
        workload=WorkloadId("u/c"),
        artifact=ServiceArtifact(
            reference="r", digest="sha256:00", platform=Platform("micropython", "any", "v6"),
            manifest=ServiceManifest(
                name="n", version=1, memory_bytes=4096,
                inputs=(Port(key="i", type=ValueType.INTEGER),),
                outputs=(Port(key="o", type=ValueType.FLOAT, data_model_mapping="lwm2m:3303/x/5700", unit="Cel"),),
            ),
            binary=b"M\x06code",
        ),
    )  # fmt: skip
    header = (
        b'{"id":"u/c","digest":"sha256:00","name":"n","version":1,"api":1,"platform":"micropython/any/v6",'
        b'"in":[["i",0,"",""]],"out":[["o",1,"lwm2m:3303/x/5700","Cel"]],"env":{},"mem":4096,"size":6}'
    )
    content = b"FSP\x01" + bytes((0, len(header))) + header + b"M\x06code"
    assert encode_package(deployment) == content + hashlib.sha256(content).digest()


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=300), max_size=12))
@settings(max_examples=100)
def test_every_package_can_be_taken_apart_or_is_refused(environment: dict[str, str]) -> None:
    deployment = ServiceDeployment(workload=WorkloadId("u/c"), artifact=order().artifact, environment=environment)
    package = package_or_none(deployment)
    if package is None:
        assert len(json.dumps(environment, ensure_ascii=False).encode()) > 1500
        return
    length = int.from_bytes(package[4:6], "big")
    assert length <= 2048
    header = json.loads(package[6 : 6 + length])
    assert header["env"] == environment
    assert package[6 + length : -32] == deployment.artifact.binary
    assert header["size"] == len(deployment.artifact.binary)
    assert package[-32:] == hashlib.sha256(package[:-32]).digest()


def test_the_pods_memory_limit_comes_before_the_manifests_wish() -> None:
    def quota(package: bytes) -> int:
        length = int.from_bytes(package[4:6], "big")
        found: int = json.loads(package[6 : 6 + length])["mem"]
        return found

    assert quota(encode_package(order())) == 8192


def test_other_platforms_get_the_binary_as_it_is() -> None:
    deployment = order(platform="zephyr/arm/v7")
    assert encode_package(deployment) == deployment.artifact.binary


def test_the_header_is_at_most_2048_bytes() -> None:
    sizes = []
    for characters in (1000, 1780, 1800, 1820, 1840, 1860, 1880, 5000):
        deployment = order()
        deployment.environment["TEXT"] = "x" * characters
        package = package_or_none(deployment)
        sizes.append(None if package is None else int.from_bytes(package[4:6], "big"))
    assert [size for size in sizes if size is not None and size > 2048] == []
    assert sizes[0] is not None
    assert max(size for size in sizes if size is not None) > 2000
    assert sizes[-1] is None
