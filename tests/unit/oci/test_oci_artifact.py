from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oci_sample import DEVICE, PORTABLE, ZEPHYR, artifact_of, manifest_of, mpy_of

from fita.model.platform import Platform
from fita.model.service import MEDIA_TYPE_CONFIG, MEDIA_TYPE_SERVICE, ServiceManifest, ValueType
from fita.oci.artifact import decode_artifact, decode_config, encode_artifact, service_layer
from fita.oci.errors import IntegrityError, OciError, UnsupportedArtifactError
from fita.oci.manifest import Content, Descriptor, Index, Manifest, choose_platform, decode_json, digest_of, verify
from fita.oci.mpy import platform_of

# As FITA's own tools make it: config, layer and their fields.
FITA_CONFIG = b'{"architecture":"arm","os":"zephyr","variant":"v7"}'
FITA_LAYER = json.dumps(
    {
        "name": "Lamp control",
        "version": 4,
        "service": base64.b64encode(b"\x7fELF machine code").decode(),
        "data_model": ["lwm2m:urn:oma:lwm2m:ext:3303"],
        "dependencies": {"sdk_api": 1},
        "inputs": [{"key": "lux-level", "type": 0}],
        "outputs": [{"key": "t", "type": 1, "data_model_mapping": "lwm2m:3303/x/5700"}],
        "something_newer": {"a": 1},
    }
).encode()


def test_decodes_what_was_encoded() -> None:
    content = artifact_of(DEVICE)
    artifact = decode_artifact(
        "x", manifest=content.manifest.data, config=content.config.data, layer=content.layer.data
    )
    assert artifact.manifest == manifest_of()
    assert artifact.platform == DEVICE
    assert artifact.binary == mpy_of(DEVICE)
    assert artifact.digest == content.manifest.digest


def test_writes_fitas_form() -> None:
    content = artifact_of(PORTABLE)
    manifest = json.loads(content.manifest.data)
    assert manifest["config"]["mediaType"] == MEDIA_TYPE_CONFIG == "application/vnd.oci.image.config.v1+json"
    assert manifest["layers"][0]["mediaType"] == MEDIA_TYPE_SERVICE == "application/vnd.embserve.v1+json"
    assert manifest["layers"][0]["annotations"] == {"org.opencontainers.image.title": "service.json"}
    layer = json.loads(content.layer.data)
    assert base64.b64decode(layer["service"]) == mpy_of(PORTABLE)
    assert layer["dependencies"] == {"sdk_api": 1}
    assert layer["outputs"] == [
        {"key": "average", "type": 1, "data_model_mapping": "lwm2m:3303/x/5700", "unit": "Cel"}
    ]


def test_reads_fitas_own_artifact() -> None:
    artifact = decode_artifact("x", manifest=b"{}", config=FITA_CONFIG, layer=FITA_LAYER)
    assert artifact.platform == ZEPHYR
    assert artifact.binary == b"\x7fELF machine code"
    service = artifact.manifest
    assert type(service) is ServiceManifest
    assert (service.name, service.version, service.dependencies.sdk_api) == ("Lamp control", 4, 1)
    assert [(port.key, port.type) for port in service.inputs] == [("lux-level", ValueType.INTEGER)]
    assert [(port.key, port.data_model_mapping) for port in service.outputs] == [("t", "lwm2m:3303/x/5700")]
    assert (service.memory_bytes, service.sensors) == (0, ())


def test_refuses_code_for_another_platform_than_the_config_says() -> None:
    lying = encode_artifact(manifest_of(), DEVICE, mpy_of(Platform("micropython", "x64", "v6")))
    with pytest.raises(IntegrityError, match="code is for micropython/x64/v6"):
        decode_artifact("x", manifest=b"", config=lying.config.data, layer=lying.layer.data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "4"}, "version"),
        ({"service": "not base64!"}, "base64"),
        ({"name": "a\nb"}, "name"),
        ({"outputs": [{"key": "a/b", "type": 1}]}, "outputs"),
        ({"outputs": [{"key": "a", "type": 2}]}, "outputs"),
        ({"memory_bytes": -1}, "memory_bytes"),
    ],
)
def test_names_the_field_that_is_wrong(change: dict[str, object], says: str) -> None:
    layer = json.dumps({**json.loads(FITA_LAYER), **change}).encode()
    with pytest.raises(UnsupportedArtifactError, match=says):
        decode_artifact("x", manifest=b"{}", config=FITA_CONFIG, layer=layer)


@given(st.binary(max_size=200) | st.recursive(st.none(), st.lists).map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150)
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(OciError):
        decode_artifact("x", manifest=b"{}", config=FITA_CONFIG, layer=data)
    with pytest.raises(OciError):
        decode_config(data, what="x")
    with pytest.raises(OciError):
        decode_json(data, Manifest, what="x")


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff\xfe", b'{"mediaType": "' + b"\xff" * 8 + b'"}'])
def test_hostile_json_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(UnsupportedArtifactError):
        decode_json(data, Index, what="x")


def test_a_manifest_without_a_service_is_named() -> None:
    config = Content(MEDIA_TYPE_CONFIG, FITA_CONFIG).descriptor()
    tar = Content("application/vnd.oci.image.layer.v1.tar+gzip", b"").descriptor()
    with pytest.raises(UnsupportedArtifactError, match=r"its layers: application/vnd\.oci\.image\.layer"):
        service_layer(Manifest(schema_version=2, config=config, layers=[tar]), what="x")
    newer = Content("application/vnd.embserve.v2+json", b"").descriptor()
    with pytest.raises(UnsupportedArtifactError) as caught:
        service_layer(Manifest(schema_version=2, config=config, layers=[newer]), what="x")
    assert "newer FITA" in caught.value.hint


@pytest.mark.parametrize(
    "algorithm", ["sha512:" + "0" * 128, "sha256:" + "A" * 64, "sha256:../../etc/passwd", "x"]
)
def test_digests_of_another_form_are_refused(algorithm: str) -> None:
    data = json.dumps({"mediaType": "x", "digest": algorithm, "size": 1}).encode()
    with pytest.raises(UnsupportedArtifactError):
        decode_json(data, Descriptor, what="x")


def index_of(*platforms: Platform | None) -> Index:
    entries = [
        Content("application/vnd.oci.image.manifest.v1+json", str(number).encode()).descriptor(platform=platform)
        for number, platform in enumerate(platforms)
    ]
    return Index(schema_version=2, manifests=entries)


AMD64 = Platform("linux", "amd64")


def test_an_index_answers_each_device_with_its_own() -> None:
    index = index_of(AMD64, PORTABLE, DEVICE, ZEPHYR, None)
    assert choose_platform(index, DEVICE, what="x").platform == DEVICE
    assert choose_platform(index, Platform("micropython", "x64", "v6"), what="x").platform == PORTABLE
    assert choose_platform(index, ZEPHYR, what="x").platform == ZEPHYR
    assert choose_platform(index_of(AMD64, ZEPHYR), None, what="x").platform == ZEPHYR


def test_an_index_without_a_fitting_platform_says_what_there_is() -> None:
    with pytest.raises(UnsupportedArtifactError) as caught:
        choose_platform(index_of(AMD64, ZEPHYR), DEVICE, what="x")
    assert caught.value.available == ("linux/amd64", "zephyr/arm/v7")
    assert "zephyr/arm/v7" in caught.value.hint
    with pytest.raises(UnsupportedArtifactError):
        choose_platform(index_of(DEVICE, ZEPHYR), None, what="x")
    with pytest.raises(UnsupportedArtifactError):
        choose_platform(index_of(), None, what="x")


@pytest.mark.parametrize("data", [b"", b"M\6", b"\x7fELF", b"M\x06" + bytes([15 << 2]) + b"\x1f"])
def test_what_is_no_bytecode_has_no_platform(data: bytes) -> None:
    with pytest.raises(UnsupportedArtifactError):
        platform_of(data)


def test_content_is_verified() -> None:
    assert verify(b"a", digest_of(b"a"), what="x") == b"a"
    with pytest.raises(IntegrityError, match="does not have its digest"):
        verify(b"b", digest_of(b"a"), what="x")
