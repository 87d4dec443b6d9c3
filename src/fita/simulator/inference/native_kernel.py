"""The kernels in C as a MicroPython module with native code, from Debian's compilers alone.

mpy-cross makes a module of viper functions with empty bodies; then each body is replaced by the machine code of
the C function of that name, linked by itself to run at any address. A viper function gets its arguments as an
array of objects and returns an object, and so do the C functions; they call nothing and keep no state, so no
relocation and no symbol of the firmware is needed.

Source of the file format: https://docs.micropython.org/en/latest/reference/mpyfiles.html, py/persistentcode.c.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fita.base.resource import resource_folder
from fita.oci.build.compiler import find_compiler
from fita.simulator.errors import SimulatorError
from fita.tinyml.pack.layout import Kernel

_DEADLINE_S = 120.0
_SOURCES = ("weighted", "window", "element")
_FUNCTIONS: dict[str, tuple[Kernel, ...]] = {
    "convolution": (Kernel.CONVOLUTION,),
    "depthwise": (Kernel.DEPTHWISE,),
    "pool": (Kernel.AVERAGE_POOL, Kernel.MAX_POOL),
    "elementwise": (Kernel.ELEMENTWISE,),
    "lookup": (Kernel.LOOKUP,),
    "dequantize": (Kernel.DEQUANTIZE,),
    "quantize": (Kernel.QUANTIZE,),
    "softmax": (Kernel.SOFTMAX,),
    "mean": (Kernel.MEAN,),
    "copy": (Kernel.COPY,),
    "fill": (Kernel.FILL,),
    "accumulate": (Kernel.ACCUMULATE,),
}
NATIVE_MODULE = "kernel_native"
_COMMON = (
    "-std=c11", "-O3", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin", "-fno-stack-protector",
    "-fno-jump-tables", "-fno-tree-loop-distribute-patterns", "-fno-strict-aliasing",
    "-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fwrapv",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Tools:
    """A compiler and the options that it needs."""

    prefix: str
    options: tuple[str, ...]
    package: str


_TOOLS = {
    "x64": _Tools("", ("-fPIC", "-mcmodel=small", "-fcf-protection=none"), "gcc"),
    "armv7m": _Tools("arm-none-eabi-", ("-mthumb", "-mcpu=cortex-m3"), "gcc-arm-none-eabi"),
}
ARCHITECTURES = tuple(_TOOLS)
_SCRIPT = """
SECTIONS {{
  . = 0;
  .all : {{ *(.text.kernel_{name}) *(.text .text.* .rodata .rodata.*) }}
  /DISCARD/ : {{ *(*) }}
}}
"""


def build_native(architecture: str) -> bytes:
    """The .mpy file of all kernels for one of the ARCHITECTURES. Blocks for some seconds.

    `SimulatorError` when a compiler is missing or refuses.
    """
    codes = _codes(architecture)
    with TemporaryDirectory(prefix="fita-native-") as name:
        shell = _shell(architecture, Path(name))
    return replace_bodies(shell, list(codes.values()))


def kernel_codes(architecture: str) -> dict[Kernel, bytes]:
    """The machine code of each kernel, entry first, for one of the ARCHITECTURES. Raises as `build_native`."""
    codes = _codes(architecture)
    return {kernel: codes[function] for function, kernels in _FUNCTIONS.items() for kernel in kernels}


def _codes(architecture: str) -> dict[str, bytes]:
    if architecture not in _TOOLS:
        raise SimulatorError(f"no native kernels for {architecture}", hint=f"there are {', '.join(_TOOLS)}")
    tools = _TOOLS[architecture]
    if shutil.which(f"{tools.prefix}gcc") is None:
        raise SimulatorError(f"{tools.prefix}gcc is not installed", hint=f"apt-get install {tools.package}")
    with TemporaryDirectory(prefix="fita-native-") as name:
        folder = Path(name)
        objects = [_compile(tools, source, folder) for source in _SOURCES]
        return {function: _link(tools, function, objects, folder) for function in _FUNCTIONS}


def _compile(tools: _Tools, name: str, folder: Path) -> Path:
    source = resource_folder("device") / "native" / f"{name}.c"
    target = folder / f"{name}.o"
    _run([f"{tools.prefix}gcc", *_COMMON, *tools.options, "-c", str(source), "-o", str(target)])
    _require_position_independence(_run([f"{tools.prefix}readelf", "-rW", str(target)]), name)
    return target


def _require_position_independence(relocations: str, name: str) -> None:
    """Nothing in the code may name an address: nobody would put it right at load."""
    section = ""
    for line in relocations.splitlines():
        if line.startswith("Relocation section"):
            section = line.split("'")[1]
        elif section.startswith((".rel.text", ".rela.text")) and _ADDRESS.search(line):
            raise SimulatorError(f"{name}.c names an address: {line.strip()}", hint="take no function's address")


_ADDRESS = re.compile(r"\bR_(ARM_ABS|ARM_(THM_)?MOV|ARM_GOT|X86_64_(8|16|32|64)|X86_64_GOT|X86_64_REX)")


def _link(tools: _Tools, function: str, objects: Sequence[Path], folder: Path) -> bytes:
    """One kernel's code and constants with its entry at the start."""
    script, linked, binary = (folder / f"{function}.{end}" for end in ("ld", "elf", "bin"))
    script.write_text(_SCRIPT.format(name=function), encoding="ascii")
    entry = f"kernel_{function}"
    _run(
        [
            f"{tools.prefix}ld",
            "--gc-sections",
            "-e",
            entry,
            "-T",
            str(script),
            *map(str, objects),
            "-o",
            str(linked),
        ]
    )
    _run([f"{tools.prefix}objcopy", "-O", "binary", "-j", ".all", str(linked), str(binary)])
    return binary.read_bytes()


def _shell(architecture: str, folder: Path) -> bytes:
    """The module with empty functions, in the order of `_FUNCTIONS`."""
    lines = []
    for function in _FUNCTIONS:
        lines += ["@micropython.viper", f"def {function}(t, at, arena, constants):", "    pass", ""]
    pairs = [f"[{number.value}, {function}]" for function, numbers in _FUNCTIONS.items() for number in numbers]
    source = folder / f"{NATIVE_MODULE}.py"
    source.write_text("\n".join([*lines, f"KERNELS = [{', '.join(pairs)}]", ""]), encoding="ascii")
    target = folder / f"{NATIVE_MODULE}.mpy"
    bits = ["-msmall-int-bits=31"] if architecture != "x64" else []
    compiler = find_compiler(source)
    _run([compiler, f"-march={architecture}", *bits, "-s", NATIVE_MODULE, "-o", str(target), str(source)])
    return target.read_bytes()


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    if done.returncode:
        raise SimulatorError(
            f"{Path(command[0]).name} fails: {(done.stderr or done.stdout).strip()}",
            hint="report it with this text",
        )
    return done.stdout


def replace_bodies(module: bytes, codes: Sequence[bytes]) -> bytes:
    """A .mpy file with the machine code of its functions replaced, in their order."""
    reader = _Reader(module)
    reader.skip(4)
    qstrs, objects = reader.number(), reader.number()
    for _ in range(qstrs):
        length = reader.number()
        if not length & 1:
            reader.skip((length >> 1) + 1)
    if objects and (objects > 1 or reader.number() != _FUN_TABLE):
        raise SimulatorError("the module of empty functions has constants", hint="report it")
    head = reader.number()
    if not head & _HAS_CHILDREN:
        raise SimulatorError("the module of empty functions has no functions", hint="report it")
    reader.skip(head >> _LENGTH_SHIFT)
    children = reader.number()
    if children != len(codes):
        raise SimulatorError(f"the module has {children} functions, not {len(codes)}", hint="report it")
    parts = [module[: reader.place]]
    for code in codes:
        kind = reader.number()
        reader.skip(kind >> _LENGTH_SHIFT)
        flags_at = reader.place
        reader.number()
        parts += [_number(len(code) << _LENGTH_SHIFT | kind & _KIND_MASK), code, module[flags_at : reader.place]]
    return b"".join([*parts, module[reader.place :]])


_FUN_TABLE = 0
"""The one object of a module with native code: the firmware's table of functions, which nothing here calls."""
_LENGTH_SHIFT = 3
_HAS_CHILDREN = 4
_KIND_MASK = 7


class _Reader:
    """Goes through a .mpy file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def skip(self, count: int) -> None:
        self.place += count

    def number(self) -> int:
        """Seven bits a byte, the highest first, the top bit set on all but the last."""
        value = 0
        while True:
            byte = self._data[self.place]
            self.place += 1
            value = value << 7 | byte & 127
            if byte < 128:
                return value


def _number(value: int) -> bytes:
    parts = [value & 127]
    while value := value >> 7:
        parts.append(value & 127 | 128)
    return bytes(reversed(parts))
