"""What users write for sensors' signals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fita.simulator.errors import SignalError
from fita.simulator.flash import DeviceSpec, write_flash
from fita.simulator.signal import Signal, parse_signal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daily", Signal("daily")),
        ("daily:18,6,60", Signal("daily", (18.0, 6.0, 60.0))),
        ("constant:21.5", Signal("constant", (21.5,))),
        ("noise:20,2", Signal("noise", (20.0, 2.0))),
        ("noise:-1e1", Signal("noise", (-10.0,))),
    ],
)
def test_signals(text: str, expected: Signal) -> None:
    assert parse_signal(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "square",
        "constant:warm",
        "constant:1,2",
        "noise:1,2,3",
        "noise:nan",
        "constant:inf",
        "daily:1,2,0",
        "csv:",
        "csv:/nowhere",
    ],
)
def test_what_is_no_signal_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(SignalError) as caught:
        parse_signal(text)
    assert "constant:VALUE" in caught.value.hint


def test_rows_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("seconds,value\n0,1\n", encoding="utf-8")
    assert parse_signal(f"csv:{file}") == Signal("csv", file=file)
    for text in ("", "seconds,value\n", "1,x\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(SignalError, match="no rows"):
            parse_signal(f"csv:{file}")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SignalError, match="cannot be read"):
        parse_signal(f"csv:{file}")


def spec(tmp_path: Path, **changes: object) -> DeviceSpec:
    fields: dict[str, object] = {
        "endpoint": "b1_node1",
        "gateway": ("127.0.0.1", 5683),
        "folder": tmp_path / "flash",
        "capabilities": ("temperature_sensor", "humidity_sensor", "nose"),
        "seed": 7,
    }
    return DeviceSpec(**{**fields, **changes})  # type: ignore[arg-type]


def settings(tmp_path: Path) -> dict[str, object]:
    return json.loads((tmp_path / "flash" / "device.json").read_bytes())  # type: ignore[no-any-return]


def test_what_a_device_boots_from(tmp_path: Path) -> None:
    write_flash(spec(tmp_path, signal="noise:20,2"))
    found = settings(tmp_path)
    assert (found["endpoint"], found["gateway"], found["heap_bytes"]) == ("b1_node1", "127.0.0.1:5683", 131072)
    sensors = found["sensors"]
    assert isinstance(sensors, list)
    assert [(sensor["object"], sensor["unit"]) for sensor in sensors] == [(3303, "Cel"), (3304, "%RH"), (3300, "")]
    assert sensors[0]["driver"] == "signals"
    assert sensors[0]["parameters"] == [20.0, 2.0]
    assert len({sensor["seed"] for sensor in sensors}) == 3
    assert "battery_percent" not in found


def test_rows_are_copied_into_the_flash(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("1\n2\n", encoding="utf-8")
    write_flash(spec(tmp_path, signal=f"csv:{file}", battery_percent=80))
    assert (tmp_path / "flash" / "signal.csv").read_text(encoding="utf-8") == "1\n2\n"
    found = settings(tmp_path)
    assert found["battery_percent"] == 80
    assert found["sensors"][0]["driver"] == "rows"  # type: ignore[index]


def test_services_in_the_flash_stay(tmp_path: Path) -> None:
    write_flash(spec(tmp_path))
    kept = tmp_path / "flash" / "services" / "s1000.json"
    kept.parent.mkdir()
    kept.write_text("{}", encoding="utf-8")
    write_flash(spec(tmp_path))
    assert kept.exists()
