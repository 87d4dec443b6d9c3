"""The folder of the emulated devices' flash: gone at the end, but for the logs of those that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fita.cli.device.simulate import flash_folder
from fita.simulator.errors import DeviceExitedError


def test_the_folder_stays_when_a_device_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failures: list[DeviceExitedError] = []
    with flash_folder(None, failures) as folder:
        log = folder / "device.log"
        log.write_text("MemoryError")
        failures.append(DeviceExitedError("lamp", "with status 1", ("MemoryError",), log))
    assert log.read_text() == "MemoryError"


def test_the_folder_goes_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with flash_folder(None, []) as folder:
        (folder / "device.log").write_text("")
    assert not folder.exists()
    with flash_folder(tmp_path / "mine", []) as chosen:
        chosen.mkdir()
    assert chosen.exists()
