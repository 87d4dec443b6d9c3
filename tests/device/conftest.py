"""The device's files are imported as a device imports them: by their bare names."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

for folder in (ROOT / "device", HERE / "shim", HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
