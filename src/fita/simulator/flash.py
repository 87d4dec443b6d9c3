"""The flash of an emulated device: a folder with its `device.json`, where it keeps its services.

What is in it stays as it is when the device starts again, as on a real board.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from fita.simulator.signal import Signal, parse_signal

_ROWS_FILE = "signal.csv"
# Object of the OMA registry and unit of capabilities; others are generic sensors.
_CAPABILITIES = {
    "illuminance_sensor": (3301, "lx"),
    "light_sensor": (3301, "lx"),
    "presence_sensor": (3302, ""),
    "temperature_sensor": (3303, "Cel"),
    "humidity_sensor": (3304, "%RH"),
    "pressure_sensor": (3315, "Pa"),
    "voltage_sensor": (3316, "V"),
    "current_sensor": (3317, "A"),
    "loudness_sensor": (3324, "dB"),
    "concentration_sensor": (3325, "ppm"),
    "power_sensor": (3328, "W"),
    "distance_sensor": (3330, "m"),
}
_GENERIC = (3300, "")


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One emulated device.

    - `gateway`: host and port of the gateway's CoAP socket.
    - `folder`: its flash; made when it is missing.
    - `heap_bytes`: the interpreter's heap, all the memory that runtime and services have.
    - `capabilities`: a sensor each, with the signal that `signal` describes (`parse_signal`).
    - `seed`: makes noise and the daily curve's start repeatable; each sensor differs.
    - `storage_bytes`: how much of the folder services may fill.
    """

    endpoint: str
    gateway: tuple[str, int]
    folder: Path
    heap_bytes: int = 128 * 1024
    capabilities: tuple[str, ...] = ()
    signal: str = "daily"
    seed: int = 0
    lifetime_s: int = 60
    storage_bytes: int = 256 * 1024
    max_services: int = 5
    battery_percent: int | None = None


def write_flash(spec: DeviceSpec) -> None:
    """Make the folder of `spec` ready to boot from. Raises `SignalError`, `OSError`."""
    signal = parse_signal(spec.signal)
    spec.folder.mkdir(parents=True, exist_ok=True)
    if signal.file is not None:
        shutil.copyfile(signal.file, spec.folder / _ROWS_FILE)
    settings: dict[str, object] = {
        "endpoint": spec.endpoint,
        "gateway": f"{spec.gateway[0]}:{spec.gateway[1]}",
        "lifetime_s": spec.lifetime_s,
        "heap_bytes": spec.heap_bytes,
        "storage_bytes": spec.storage_bytes,
        "max_services": spec.max_services,
        "addresses": ["127.0.0.1"],
        "sensors": [
            _sensor(capability, signal, seed=spec.seed * 1000 + number)
            for number, capability in enumerate(spec.capabilities)
        ],
    }
    if spec.battery_percent is not None:
        settings["battery_percent"] = spec.battery_percent
    temporary = spec.folder / "device.tmp"
    temporary.write_bytes(msgspec.json.encode(settings))
    temporary.replace(spec.folder / "device.json")


def _sensor(capability: str, signal: Signal, *, seed: int) -> dict[str, object]:
    object_id, unit = _CAPABILITIES.get(capability, _GENERIC)
    shown = {"capability": capability, "object": object_id, "unit": unit}
    if signal.file is not None:
        return shown | {"driver": "rows", "parameters": [_ROWS_FILE]}
    return shown | {"driver": "signals", "signal": signal.kind, "parameters": signal.numbers, "seed": seed}
