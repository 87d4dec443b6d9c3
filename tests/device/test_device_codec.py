"""The device's codecs held against the gateway's, which were written independently."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import coap
import pytest
import senml
from hypothesis import given, settings
from hypothesis import strategies as st
from objects import Fixed, Tree
from package import PackageReader

from fita.coap.errors import MalformedMessageError
from fita.coap.message.format import Message, MessageType, decode
from fita.lwm2m.codec.content import decode_payload
from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.codec.link import parse_links
from fita.lwm2m.path import Path, parse_path
from fita.lwm2m.service.package import encode_package
from fita.lwm2m.value import ObjectLink
from fita.model.platform import Platform
from fita.model.runtime import ServiceDeployment, WorkloadId
from fita.model.service import Port, ServiceArtifact, ServiceManifest, ValueType

EXAMPLES = settings(max_examples=100, deadline=None)
RESERVED_CLASSES = (1, 6, 7)

options = st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=300)), max_size=6)
codes = st.integers(1, 255).filter(lambda code: code >> 5 not in RESERVED_CLASSES)


class Fields(NamedTuple):
    """What a message consists of."""

    kind: int
    code: int
    mid: int
    token: bytes
    options: list[tuple[int, bytes]]
    payload: bytes


fields = st.builds(
    Fields,
    st.integers(0, 3),
    codes,
    st.integers(0, 65535),
    st.binary(max_size=8),
    options,
    st.binary(max_size=99),
)


@EXAMPLES
@given(fields)
def test_messages_of_the_device(given: Fields) -> None:
    message = coap.Message(given.kind, given.code, given.mid, given.token, given.payload)
    for number, value in given.options:
        message.add(number, value)
    found = decode(message.encode())
    assert (found.type, found.code, found.message_id, found.token) == given[:4]
    assert found.options == tuple(sorted(given.options, key=lambda option: option[0]))
    assert found.payload == given.payload


@EXAMPLES
@given(fields)
def test_messages_of_the_gateway(given: Fields) -> None:
    code = decode(bytes((0x40, given.code, 0, 0))).code
    message = Message(MessageType(given.kind), code, given.mid, given.token, tuple(given.options), given.payload)
    found = coap.decode(message.encode())
    assert (found.kind, found.code, found.mid, found.token) == given[:4]
    assert found.options == sorted(given.options, key=lambda option: option[0])
    assert found.payload == given.payload


@EXAMPLES
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda data: b"\x44\x01\x00\x01" + data))
def test_both_read_any_bytes_alike(data: bytes) -> None:
    try:
        expected = decode(data)
    except MalformedMessageError:
        expected = None
    try:
        found = coap.decode(data)
    except ValueError:
        assert expected is None
        return
    if expected is None:  # stricter in what can neither be a request nor a response
        assert found.code >> 5 in RESERVED_CLASSES or found.options[-1][0] > 0xFFFF
        return
    assert tuple(found.options) == expected.options
    assert (found.token, found.payload) == (expected.token, expected.payload)


values = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=40),
    st.booleans(),
    st.binary(max_size=40),
    st.builds(ObjectLink, st.integers(0, 65535), st.integers(0, 65535)),
)


def on_device(value: object) -> object:
    return senml.Link(*value) if isinstance(value, ObjectLink) else value


def same(first: object, second: object) -> bool:
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    return type(first) is type(second) and first == second


@EXAMPLES
@given(st.dictionaries(st.integers(0, 65534), values, min_size=1, max_size=6))
def test_an_instance_read(resources: dict[int, object]) -> None:
    tree = Tree()
    tree.objects[3303] = Fixed(lambda instance: [(key, on_device(value)) for key, value in resources.items()])
    base, records = tree.records((3303, 0))
    found = decode_payload(bytes(senml.encode(base, records)), ContentFormat.SENML_CBOR, Path(3303, 0))
    assert {path.resource_id for path in found} == set(resources)
    for path, value in found.items():
        assert same(value, resources[path.resource_id or 0])


@EXAMPLES
@given(st.lists(st.dictionaries(st.integers(0, 99), st.integers(0, 9), max_size=3), max_size=30))
def test_an_object_read(instances: list[dict[int, int]]) -> None:
    class Many:
        def instances(self) -> list[int]:
            return list(range(len(instances)))

        def read(self, instance: int) -> list[tuple[int, int]]:
            return sorted(instances[instance].items())

    tree = Tree()
    tree.objects[9] = Many()
    base, records = tree.records((9,))
    found = decode_payload(bytes(senml.encode(base, records)), ContentFormat.SENML_CBOR, Path(9))
    assert found == {
        Path(9, number, resource): value
        for number, resources in enumerate(instances)
        for resource, value in resources.items()
    }


def test_instances_of_a_resource() -> None:
    tree = Tree()
    tree.objects[4] = Fixed(lambda instance: [(0, 41), (4, ["10.0.0.1", "10.0.0.2"])])
    base, records = tree.records((4, 0))
    found = decode_payload(bytes(senml.encode(base, records)), ContentFormat.SENML_CBOR, Path(4, 0))
    assert found == {Path(4, 0, 0): 41, Path(4, 0, 4, 0): "10.0.0.1", Path(4, 0, 4, 1): "10.0.0.2"}


def test_the_list_of_objects() -> None:
    tree = Tree()
    for number in (1, 3, 35010):
        tree.objects[number] = Fixed(lambda instance: [])
    targets = [link.target for link in parse_links(tree.links().encode())]
    assert targets[0] == "/"
    assert [parse_path(target) for target in targets[1:]] == [Path(1, 0), Path(3, 0), Path(35010, 0)]


@EXAMPLES
@given(
    st.binary(min_size=1, max_size=3000),
    st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5),
    st.sampled_from((16, 64, 1000, 1024)),
)
def test_packages(binary: bytes, environment: dict[str, str], size: int) -> None:
    order = deployment(binary, environment)
    data = encode_package(order)
    headers: list[dict[str, object]] = []
    code = bytearray()
    reader = PackageReader(headers.append, code.extend)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    assert reader.finish() == hashlib.sha256(binary).hexdigest()
    assert code == binary
    (header,) = headers
    assert header == {
        "id": "uid/average",
        "digest": order.artifact.digest,
        "name": "average",
        "version": 3,
        "api": 1,
        "platform": "micropython/any/v6",
        "in": [["threshold", 0, "", ""]],
        "out": [["average", 1, "lwm2m:3303/x/5700", "Cel"]],
        "env": environment,
        "mem": 4096,
        "size": len(binary),
    }


def deployment(binary: bytes, environment: dict[str, str]) -> ServiceDeployment:
    manifest = ServiceManifest(
        name="average",
        version=3,
        inputs=(Port(key="threshold", type=ValueType.INTEGER),),
        outputs=(Port(key="average", type=ValueType.FLOAT, data_model_mapping="lwm2m:3303/x/5700", unit="Cel"),),
        memory_bytes=4096,
    )
    return ServiceDeployment(
        workload=WorkloadId("uid/average"),
        artifact=ServiceArtifact(
            reference="fita.local/average:3",
            digest="sha256:" + "ab" * 32,
            platform=Platform("micropython", "any", "v6"),
            manifest=manifest,
            binary=binary,
        ),
        environment=environment,
    )


@pytest.mark.parametrize("value", [0, -1, 21.5, True, "text", 1e300])
def test_one_value_as_text(value: object) -> None:
    from fita.lwm2m.value import BOOLEAN, FLOAT, INTEGER, STRING

    kinds = {bool: BOOLEAN, int: INTEGER, float: FLOAT, str: STRING}
    assert kinds[type(value)].from_text(senml.to_text(value).decode()) == value
