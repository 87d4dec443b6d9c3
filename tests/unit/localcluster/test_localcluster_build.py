"""The compilation, with the real Go and a small program in place of Kubernetes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from fita.base.disk import DiskFullError
from fita.base.resource import resource_folder
from fita.localcluster.build import binary as binary_module
from fita.localcluster.build.binary import ControlPlaneBinary, kubernetes_version, remove_unused, source_hash
from fita.localcluster.build.compilation import ensure_built
from fita.localcluster.build.go import Go
from fita.localcluster.build.progress import BuildProgress, BuildStage
from fita.localcluster.command import run_command
from fita.localcluster.errors import BuildError

GO_MOD = """module example.org/small

go 1.26.0

require k8s.io/kubernetes v1.36.3

require k8s.io/component-base v0.36.3

replace (
\tk8s.io/kubernetes => ./kubernetes
\tk8s.io/component-base => ./base
)
"""
MAIN = """package main

import "k8s.io/component-base/version"

func main() { println(version.Version()) }
"""
VERSION = """package version

var gitVersion, gitMajor, gitMinor = "v0.0.0", "0", "0"

func Version() string { return gitVersion + " " + gitMajor + " " + gitMinor }
"""


@pytest.fixture
def sources(tmp_path: Path, go_on_path: None) -> Path:
    folder = tmp_path / "sources"
    files = {
        "go.mod": GO_MOD,
        "go.sum": "",
        "main.go": MAIN,
        "kubernetes/go.mod": "module k8s.io/kubernetes\n",
        "base/go.mod": "module k8s.io/component-base\n",
        "base/version/version.go": VERSION,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        comment = f"// {tmp_path}\n" if name.endswith(".go") else ""  # not in Go's cache yet
        (folder / name).write_text(text + comment)
    return folder


async def test_compiles_once_with_the_version_of_go_mod(sources: Path, tmp_path: Path) -> None:
    stages: list[BuildProgress] = []
    built = await ensure_built(sources=sources, cache=tmp_path / "cache", on_progress=stages.append)
    lines: list[str] = []
    await run_command([str(built.program)], on_line=lines.append)
    assert lines == ["v1.36.3 1 36"]
    assert built.version == "v1.36.3"
    assert built.kubectl.samefile(built.program)
    assert [path.name for path in (tmp_path / "cache" / "controlplane").iterdir() if path.name != "lock"] == [
        built.folder.name
    ]
    compiled = [step for step in stages if step.stage is BuildStage.COMPILE]
    assert compiled[0].done == 0
    assert compiled[0].total >= 1
    assert [step.stage for step in stages][-2:] == [BuildStage.LINK, BuildStage.DONE]

    stages.clear()
    assert await ensure_built(sources=sources, cache=tmp_path / "cache", on_progress=stages.append) == built
    assert stages == []


async def test_two_at_once_compile_once(sources: Path, tmp_path: Path) -> None:
    steps: tuple[list[BuildStage], list[BuildStage]] = ([], [])
    async with asyncio.TaskGroup() as group:
        built = [
            group.create_task(
                ensure_built(
                    sources=sources, cache=tmp_path, on_progress=lambda step, seen=seen: seen.append(step.stage)
                )
            )
            for seen in steps
        ]
    assert built[0].result() == built[1].result()
    assert (BuildStage.LINK in steps[0], BuildStage.WAIT in steps[0]) == (True, False)
    assert set(steps[1]) == {BuildStage.WAIT, BuildStage.DONE}


async def test_source_that_does_not_compile_is_named(sources: Path, tmp_path: Path) -> None:
    (sources / "main.go").write_text("package main\n\nfunc main() { nothing() }\n")
    with pytest.raises(BuildError, match=r"does not compile: .*main\.go:3:15: undefined: nothing"):
        await ensure_built(sources=sources, cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "controlplane").iterdir()] == ["lock"]


async def test_full_disk_is_named(sources: Path, tmp_path: Path, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Go that compiles until there is no space: everything else it does is the real one's."""
    full = tmp_path / "full" / "go"
    full.parent.mkdir()
    message = "compile: writing output: write $WORK/b001/_pkg_.a: no space left on device"
    full.write_text(f'#!/bin/sh\n[ $1 != build ] || {{ echo "{message}" >&2; exit 1; }}\nexec {go.program} "$@"\n')
    full.chmod(0o755)
    monkeypatch.setenv("PATH", str(full.parent), prepend=":")
    with pytest.raises(DiskFullError, match=f"no space is left on the disk that holds {tmp_path / 'cache'}"):
        await ensure_built(sources=sources, cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "controlplane").iterdir()] == ["lock"]


async def test_modules_that_cannot_be_fetched_are_named(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    text = (sources / "go.mod").read_text()
    (sources / "go.mod").write_text(text.replace("\tk8s.io/component-base => ./base\n", ""))
    line = "k8s.io/component-base v0.36.3 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    (sources / "go.sum").write_text(line + line.replace(" h1", "/go.mod h1"))
    with pytest.raises(BuildError, match="source cannot be fetched") as caught:
        await ensure_built(sources=sources, cache=tmp_path / "cache")
    assert "--kubeconfig" in caught.value.hint


async def test_interrupted_compilation_leaves_nothing(sources: Path, tmp_path: Path) -> None:
    waiting = asyncio.Event()

    def interrupt(step: BuildProgress) -> None:
        if step.stage is BuildStage.COMPILE:
            waiting.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(ensure_built(sources=sources, cache=tmp_path / "cache", on_progress=interrupt))
        await waiting.wait()
        task.cancel()
    assert [path.name for path in (tmp_path / "cache" / "controlplane").iterdir()] == ["lock"]
    assert (await ensure_built(sources=sources, cache=tmp_path / "cache")).complete


def test_hash_follows_the_sources_but_not_their_tests(sources: Path) -> None:
    before = source_hash(sources)
    (sources / "main_test.go").write_text("package main\n")
    assert source_hash(sources) == before
    (sources / "main.go").write_text(MAIN + "\n")
    assert source_hash(sources) != before


def test_kubernetes_version_stands_in_go_mod(sources: Path) -> None:
    assert kubernetes_version(resource_folder("controlplane")).startswith("v1.36.")
    (sources / "go.mod").write_text("module x\n")
    with pytest.raises(BuildError, match="does not name a version of Kubernetes"):
        kubernetes_version(sources)


def test_old_binaries_go_unless_they_run(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    names = [f"old{age}" for age in range(5)]
    for age, name in enumerate(names):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    for name in (kept.name, ".scratch"):
        (tmp_path / name).mkdir()
    with ControlPlaneBinary(tmp_path / "old4", "v1.36.3").in_use():
        os.utime(tmp_path / "old4", (1, 1))
        assert remove_unused(tmp_path, kept) == [tmp_path / "old2", tmp_path / "old3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".scratch", "kept", "old0", "old1", "old4"]
    assert binary_module.KEPT_OTHERS == 2
    assert remove_unused(tmp_path, kept) == [tmp_path / "old4"]


def test_use_is_remembered(tmp_path: Path) -> None:
    os.utime(tmp_path, (1, 1))
    with ControlPlaneBinary(tmp_path, "v1.36.3").in_use():
        assert tmp_path.stat().st_mtime > 1
        with (tmp_path / "in-use").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    shutil.rmtree(tmp_path)
