"""The device's files are imported as a device imports them: by their bare names."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

for folder in (ROOT / "device", HERE / "shim", HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device collects garbage around every call; here that would go through all of pytest's objects."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime, compiled as emulated devices run it."""
    from fita.simulator.firmware import compile_firmware

    folder = tmp_path_factory.mktemp("firmware")
    compile_firmware(folder)
    return folder
