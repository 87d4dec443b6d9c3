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
from fita.simulator.shrink import shrink

INTERPRETER_MODULE = "micropython_run"
_COMPILE_DEADLINE_S = 60.0
_WORKERS = 4
_NOT_RUNTIME = ("kernel", "segment", "tensor")


def compile_firmware(target: Path) -> None:
    """Compile the runtime, every file of `device/` that it consists of, into the folder `target`.

    Blocks for some 100 ms. Raises `RuntimeMissingError`, `SimulatorError`.
    """
    source = resource_folder("device")
    try:
        compiler = find_compiler(source)
    except CompilerMissingError as error:
        raise RuntimeMissingError("mpy-cross") from error
    files = {path.stem: path.read_text(encoding="utf-8") for path in runtime_files(source)}
    for name, text in shrink(files).items():
        (target / f"{name}.py").write_text(text, encoding="utf-8")
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(lambda name: _compile(compiler, target, name), files))


def runtime_files(source: Path) -> list[Path]:
    """What the runtime consists of. The parts of split inference are not loaded by it."""
    return [path for path in sorted(source.glob("*.py")) if not path.stem.startswith(_NOT_RUNTIME)]


def _compile(compiler: str, folder: Path, name: str) -> None:
    command = [compiler, "-s", name, "-o", f"{name}.mpy", f"{name}.py"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_COMPILE_DEADLINE_S, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise SimulatorError(f"device/{name}.py does not compile: {said}", hint="install FITA again")
    (folder / f"{name}.py").unlink()  # it would be imported in the place of the bytecode


def interpreter_folder() -> Path:
    """Where the interpreter's extension module is. Raises `RuntimeMissingError`."""
    spec = importlib.util.find_spec(INTERPRETER_MODULE)
    if spec is None or spec.origin is None:
        raise RuntimeMissingError("the MicroPython interpreter")
    return Path(spec.origin).parent
