"""The armv7m kernels in C on a bare Cortex-M3 under QEMU, byte for byte.

Debian: qemu-system-arm, gcc-arm-none-eabi. FITA_KERNEL_MODELS sets how many random models run (30 by default).
"""

from __future__ import annotations

import os
import shutil

import pytest
from tools.kernels_armv7m import QEMU, run_models

from fita.tinyml.pack.layout import Kernel

pytestmark = pytest.mark.interop

MODELS = int(os.environ.get("FITA_KERNEL_MODELS", "30"))


def test_kernels_in_c_give_the_reference_bytes_on_a_cortex_m3() -> None:
    if shutil.which(QEMU) is None:
        pytest.fail(f"{QEMU} is missing: install the Debian package qemu-system-arm")
    right, kernels = run_models(MODELS)
    assert right > MODELS
    if MODELS >= 30:
        assert kernels == set(Kernel), "a kernel has not run"
