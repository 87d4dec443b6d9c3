"""The device's portable tests once more, on MicroPython itself with a device's heap limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HEAP = "512k"
DEADLINE_S = 60
# Those that hold the device against CPython code, or run whole processes.
ONLY_CPYTHON = {
    "test_device_micropython",
    "test_device_journal",
    "test_device_codec",
    "test_device_process",
    "test_device_memory",
}
PORTABLE = sorted(path.stem for path in HERE.glob("test_device_*.py") if path.stem not in ONLY_CPYTHON)


@pytest.mark.parametrize("name", PORTABLE)
def test_on_micropython(name: str) -> None:
    code = (
        f"import sys, unittest; total, failed = unittest.run([{name!r}]); print('total', total); sys.exit(failed)"
    )
    path = ":".join(str(folder) for folder in (HERE / "micropython", ROOT / "device", HERE))
    done = subprocess.run(
        [Path(sys.executable).parent / "micropython", "-X", f"heapsize={HEAP}", "-c", code],
        env={"MICROPYPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total 0" not in done.stdout, "no test was found"
    assert done.stdout.rsplit("total", 1)[-1].strip().isdigit(), done.stdout
