"""The kinds of kernels, each with a MicroPython that runs it: of this machine, and of a 32-bit ARM under QEMU."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kernel_case import SLACK_BYTES, SLACK_BYTES_32
from tools.micropython_arm import interpreter

from fita.simulator.inference.firmware import CORTEX_M, THIS_MACHINE, Processor, compile_segment_firmware
from fita.simulator.inference.native_kernel import build_native
from fita.simulator.inference.process import SegmentProcess

ROOT = Path(__file__).parents[2]
ARM_FOLDER = Path("build") / "micropython-armhf"


@dataclass(frozen=True)
class Kind:
    """What kernels are built for, and whether those in C take the place of viper."""

    processor: Processor
    native: bool = False

    @property
    def on_arm(self) -> bool:
        return self.processor.word_bits == 32

    @property
    def slack_bytes(self) -> int:
        """How much more than its peak a small segment may have been promised."""
        return SLACK_BYTES_32 if self.on_arm else SLACK_BYTES

    def compile(self, folder: Path) -> None:
        """The executor and its kernels."""
        native = build_native(self.processor.architecture) if self.native else None
        compile_segment_firmware(folder, self.processor, native)

    def command(self) -> list[str]:
        """What starts a MicroPython that runs these kernels."""
        return arm_interpreter() if self.on_arm else [str(Path(sys.executable).parent / "micropython")]

    def device(self, firmware: Path, heap_bytes: int) -> SegmentProcess:
        """A process that runs what `compile` has put into the folder."""
        command = arm_interpreter() if self.on_arm else ()
        return SegmentProcess(self.processor.architecture, firmware, heap_bytes, interpreter=command)


KINDS = {
    "viper": Kind(THIS_MACHINE),
    "viper with split products": Kind(Processor(architecture="x64", word_bits=64, split=True)),
    "native": Kind(THIS_MACHINE, native=True),
    "viper on ARM": Kind(CORTEX_M),
    "native on ARM": Kind(CORTEX_M, native=True),
}


def arm_interpreter() -> list[str]:
    """The command of the MicroPython that `make test` fetches."""
    command = interpreter(ROOT / ARM_FOLDER)
    if shutil.which(command[0]) is None:
        pytest.fail(f"{command[0]} is missing: install the Debian package qemu-user")
    if not Path(command[-1]).is_file():
        pytest.fail(f"no MicroPython for ARM: run `python -m tools.micropython_arm {ARM_FOLDER}`")
    return command
