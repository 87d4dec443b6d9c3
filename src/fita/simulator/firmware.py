"""The device runtime as bytecode, and the interpreter that runs it.

Compiled on the host, because compiling takes more memory than a device has; at every start of a fleet, because
that takes a fraction of a second and can never be out of date.
"""

from __future__ import annotations

import importlib.util
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fita.base.resource import resource_folder
from fita.oci.build.compiler import find_compiler
from fita.oci.errors import CompilerMissingError
from fita.simulator.errors import RuntimeMissingError, SimulatorError

INTERPRETER_MODULE = "micropython_run"
_COMPILE_DEADLINE_S = 60.0
_WORKERS = 4


def compile_firmware(target: Path) -> None:
    """Compile every file of `device/` into the folder `target`. Blocks for some 100 ms.

    Raises `RuntimeMissingError`, `SimulatorError`.
    """
    source = resource_folder("device")
    try:
        compiler = find_compiler(source)
    except CompilerMissingError as error:
        raise RuntimeMissingError("mpy-cross") from error
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(lambda path: _compile(compiler, path, target), sorted(source.glob("*.py"))))


def _compile(compiler: str, path: Path, target: Path) -> None:
    command = [compiler, "-s", path.name, "-o", str(target / f"{path.stem}.mpy"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_DEADLINE_S, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise SimulatorError(f"{path} does not compile: {said}", hint="install FITA again")


def interpreter_folder() -> Path:
    """Where the interpreter's extension module is. Raises `RuntimeMissingError`."""
    spec = importlib.util.find_spec(INTERPRETER_MODULE)
    if spec is None or spec.origin is None:
        raise RuntimeMissingError("the MicroPython interpreter")
    return Path(spec.origin).parent
