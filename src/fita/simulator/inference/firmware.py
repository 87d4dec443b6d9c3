"""The segment executor and its kernels as bytecode with native code for one kind of processor.

One source serves all: two lines of each kernel file say how wide the processor's words are, and lines that end in
`# inline` stand for parts that kernels share. The build sets the ones and replaces the others.
"""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent, indent

from fita.base.resource import resource_folder
from fita.oci.build.compiler import find_compiler
from fita.oci.errors import CompilerMissingError
from fita.simulator.errors import RuntimeMissingError, SimulatorError
from fita.simulator.inference.native_kernel import NATIVE_MODULE

_COMPILE_DEADLINE_S = 60.0
_FILES = (
    "kernel", "kernel_element", "kernel_move", "kernel_weighted", "kernel_window",
    "segment", "segment_check", "segment_error", "segment_main",
)  # fmt: skip
_INLINE = re.compile(r"^( *)[^#\n]*\b(\w+)\([^#\n]*\)  # inline\n", re.MULTILINE)
_WORD_LINES = re.compile(r"^(_EXTEND|_SPLIT) = const\(\d+\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """What kernels are built for: mpy-cross's name of the architecture and the width of a word.

    `split` forms products of two words from halves; 32-bit processors always do.
    """

    architecture: str
    word_bits: int
    split: bool = False

    @property
    def words(self) -> dict[str, int]:
        """The values of the lines that the build sets."""
        return {"_EXTEND": self.word_bits - 32, "_SPLIT": int(self.split or self.word_bits == 32)}


THIS_MACHINE = Processor(architecture="x64", word_bits=64)
CORTEX_M = Processor(architecture="armv7m", word_bits=32)


def source_for(processor: Processor, text: str) -> str:
    """A kernel file's text with its word lines set and its inlined parts in place."""
    words, parts = processor.words, _inlined_parts()
    text = _WORD_LINES.sub(lambda match: f"{match[1]} = const({words[match[1]]})", text)
    while (match := _INLINE.search(text)) is not None:
        text = text[: match.start()] + indent(parts[match[2]], match[1]) + text[match.end() :]
    return text


@cache
def _inlined_parts() -> dict[str, str]:
    """The functions of kernel_inline by name: what they do, without their head and their return."""
    text = (resource_folder("device") / "kernel_inline.py").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    return {
        node.name: dedent("".join(lines[node.lineno : node.body[-1].lineno - 1]))
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }


def compile_segment_firmware(
    target: Path, processor: Processor = THIS_MACHINE, native: bytes | None = None
) -> None:
    """Compile the executor into the folder `target`. Blocks for some 50 ms.

    `native` is what `build_native` made for the same architecture; without it the viper kernels run.

    Raises `RuntimeMissingError`, `SimulatorError`.
    """
    source = resource_folder("device")
    try:
        compiler = find_compiler(source)
    except CompilerMissingError as error:
        raise RuntimeMissingError("mpy-cross") from error
    for name in _FILES:
        text = (source / f"{name}.py").read_text(encoding="utf-8")
        (target / f"{name}.py").write_text(source_for(processor, text), encoding="utf-8")
        _compile([compiler, f"-march={processor.architecture}", *_small_integers(processor)], target, name)
    if native is not None:
        (target / f"{NATIVE_MODULE}.mpy").write_bytes(native)


def _small_integers(processor: Processor) -> list[str]:
    return ["-msmall-int-bits=31"] if processor.word_bits == 32 else []


def _compile(command: list[str], folder: Path, name: str) -> None:
    done = subprocess.run(
        [*command, "-s", name, "-o", f"{name}.mpy", f"{name}.py"],
        cwd=folder, capture_output=True, text=True, timeout=_COMPILE_DEADLINE_S, check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise SimulatorError(f"device/{name}.py does not compile: {said}", hint="install FITA again")
    (folder / f"{name}.py").unlink()  # it would be imported in the place of the bytecode
