"""Services and stores that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

from fita.model.platform import Platform
from fita.model.service import Port, ServiceManifest, ValueType
from fita.oci.artifact import ArtifactContent, encode_artifact

PORTABLE = Platform("micropython", "any", "v6")
DEVICE = Platform("micropython", "armv7em", "v6")
ZEPHYR = Platform("zephyr", "arm", "v7")

SERVICE_TOML = """\
name = "average"
version = 3
memory = "8Ki"
sensors = ["temperature_sensor"]

[[outputs]]
key = "average"
type = "float"
data_model_mapping = "lwm2m:3303/x/5700"
unit = "Cel"
"""
MAIN_PY = """\
def setup(service):
    service.log("ready")


def loop(service):
    service.output("average", service.sensor("temperature_sensor").read())
"""


def write_folder(folder: Path, toml: str = SERVICE_TOML, code: str = MAIN_PY) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.toml").write_text(toml)
    (folder / "main.py").write_text(code)
    return folder


def manifest_of(name: str = "average", version: int = 3) -> ServiceManifest:
    output = Port(key="average", type=ValueType.FLOAT, data_model_mapping="lwm2m:3303/x/5700", unit="Cel")
    return ServiceManifest(
        name=name, version=version, outputs=(output,), sensors=("temperature_sensor",), memory_bytes=8192
    )


def mpy_of(platform: Platform, body: bytes = b"code") -> bytes:
    """Bytes with the header of a ``.mpy`` file for `platform`; no interpreter would run them."""
    architecture = {"any": 0, "x64": 2, "armv7em": 6}[platform.architecture]
    return bytes((ord("M"), int(platform.variant[1:]), architecture << 2, 31)) + body


def artifact_of(platform: Platform = PORTABLE, *, body: bytes = b"code", version: int = 3) -> ArtifactContent:
    binary = mpy_of(platform, body) if platform.os == "micropython" else body
    return encode_artifact(manifest_of(version=version), platform, binary)
