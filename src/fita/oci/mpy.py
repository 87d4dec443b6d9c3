"""The header of a ``.mpy`` file: which MicroPython can load it.

Source: https://docs.micropython.org/en/latest/reference/mpyfiles.html and ``py/persistentcode.h``.
"""

from __future__ import annotations

from fita.model.platform import ARCHITECTURE_ANY, OS_MICROPYTHON, Platform
from fita.oci.errors import UnsupportedArtifactError

# By the number in the header's feature byte (enum MP_NATIVE_ARCH_* of py/persistentcode.h).
_ARCHITECTURES = (
    ARCHITECTURE_ANY, "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp",
    "xtensa", "xtensawin", "rv32imc", "rv64imc",
)  # fmt: skip
NATIVE_ARCHITECTURES = _ARCHITECTURES[1:]
"""What ``mpy-cross -march`` knows."""
BYTECODE_VARIANT = "v6"
"""The version of the bytecode that services are built in."""

_HEADER_BYTES = 4
_ARCHITECTURE_MASK = 0x0F
_ARCHITECTURE_SHIFT = 2


def platform_of(mpy: bytes) -> Platform:
    """The platform that `mpy` was compiled for; `UnsupportedArtifactError` when it is no ``.mpy`` file."""
    if len(mpy) < _HEADER_BYTES or mpy[:1] != b"M":
        raise UnsupportedArtifactError("the code is not a MicroPython .mpy file", hint="build the service again")
    number = (mpy[2] >> _ARCHITECTURE_SHIFT) & _ARCHITECTURE_MASK
    if number >= len(_ARCHITECTURES):
        raise UnsupportedArtifactError(
            f"the code is for a processor with the unknown number {number}", hint="it needs a newer FITA"
        )
    return Platform(OS_MICROPYTHON, _ARCHITECTURES[number], f"v{mpy[1]}")
