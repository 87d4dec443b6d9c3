"""Compiles the control plane once into the user's cache folder.

Two processes that need the same binary: one compiles, the other waits. A compilation that is interrupted leaves
nothing but Go's own cache, from which the next one goes on. What comes out depends on the sources only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from fita.base.disk import DiskFullError, disk_errors
from fita.base.lock import FileLock
from fita.base.resource import resource_folder
from fita.localcluster.build.binary import (
    PROGRAM,
    ControlPlaneBinary,
    default_cache_dir,
    kubernetes_version,
    remove_unused,
    source_hash,
)
from fita.localcluster.build.go import Go, find_go
from fita.localcluster.build.progress import BuildProgress, BuildStage, ProgressListener, ignore_progress
from fita.localcluster.command import CommandFailedError, LineListener, run_command
from fita.localcluster.errors import OTHER_CLUSTER_HINT, BuildError

log = structlog.get_logger(__name__)

WAIT_TOLD_EVERY_S = 0.2
SCRATCH = ".scratch"
NETWORK_SIGNS = ("dial tcp", "lookup ", "connection re", "i/o timeout", "TLS handshake", "unexpected EOF", "x509:")


async def ensure_built(
    *, sources: Path | None = None, cache: Path | None = None, on_progress: ProgressListener = ignore_progress
) -> ControlPlaneBinary:
    """The compiled control plane of `sources` (default: those that come with FITA), compiled now if missing.

    Takes about 5 minutes on 2 cores the first time and needs the network then. May be cancelled at any time.
    Raises `BuildError`, `GoMissingError` and `DiskError`.
    """
    sources = sources or resource_folder("controlplane")
    cache = cache or default_cache_dir()
    binaries = cache / "controlplane"
    binary = ControlPlaneBinary(binaries / source_hash(sources), kubernetes_version(sources))
    if binary.complete:
        return binary
    with disk_errors(binaries):
        binaries.mkdir(parents=True, exist_ok=True)
    async with _only_one(binaries, on_progress) as lock:
        if not binary.complete:
            go = await find_go(sources, cache, on_progress=on_progress)
            await _Compilation(go, sources, binary, on_progress, lock).run()
            for folder in remove_unused(binaries, kept=binary.folder):
                log.info("unused control plane removed", folder=str(folder))
    on_progress(BuildProgress(BuildStage.DONE))
    return binary


@asynccontextmanager
async def _only_one(folder: Path, on_progress: ProgressListener) -> AsyncIterator[int]:
    """Hold the folder's lock. The compiler inherits its file: one that lost its parent is waited for too."""
    lock = FileLock(folder / "lock")
    while not await lock.acquire(patience_s=WAIT_TOLD_EVERY_S):
        on_progress(BuildProgress(BuildStage.WAIT))
    try:
        yield lock.fileno
    finally:
        lock.release()


@dataclass(slots=True)
class _Compilation:
    """One run of the compiler."""

    go: Go
    sources: Path
    binary: ControlPlaneBinary
    on_progress: ProgressListener
    lock: int
    done: int = 0
    total: int = 0

    async def run(self) -> None:
        """Fetch what is missing, compile, and put the binary in its place at once."""
        scratch = self.binary.folder.with_name(SCRATCH)
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            with disk_errors(self.binary.folder):
                (scratch / "result").mkdir(parents=True)
            await self._fetch_modules()
            await self._compile(scratch)
            with disk_errors(self.binary.folder):
                (scratch / "result" / "kubectl").symlink_to(PROGRAM)
                shutil.rmtree(self.binary.folder, ignore_errors=True)
                (scratch / "result").rename(self.binary.folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    async def _fetch_modules(self) -> None:
        """Load every module that a package needs, and count the packages that are not in Go's cache yet."""
        requirements = (self.sources / "go.mod").read_text(encoding="utf-8").split("replace (")[0]
        self.total = len(re.findall(r"^(?:require |\t)\S+ v\S+", requirements, re.MULTILINE))
        form = "{{if .Stale}}{{.ImportPath}}{{end}}"
        listing = await self._go("list", "-deps", "-f", form, ".", on_line=self._count_module)
        self.done, self.total = 0, len(listing.split())
        stage = BuildStage.COMPILE if self.total else BuildStage.LINK
        self.on_progress(BuildProgress(stage, 0, self.total))

    async def _compile(self, scratch: Path) -> None:
        output = scratch / "result" / PROGRAM
        flags = f"-s -w {link_flags(self.binary.version)}"
        await self._go("build", "-v", "-ldflags", flags, "-o", str(output), ".", on_line=self._count_package)

    def _count_module(self, line: str) -> None:
        if line.startswith("go: downloading "):
            self.done = min(self.done + 1, self.total)
            self.on_progress(BuildProgress(BuildStage.FETCH_MODULES, self.done, self.total))

    def _count_package(self, line: str) -> None:
        if " " in line:
            return  # a message; the name of a package stands alone
        self.done = min(self.done + 1, self.total)
        if self.done < self.total:
            self.on_progress(BuildProgress(BuildStage.COMPILE, self.done, self.total))
        else:
            self.on_progress(BuildProgress(BuildStage.LINK))

    async def _go(self, *arguments: str, on_line: LineListener) -> str:
        environment = {**self.go.environment, "GOTMPDIR": str(self.binary.folder.with_name(SCRATCH))}
        try:
            return await run_command(
                [str(self.go.program), *arguments],
                cwd=self.sources,
                environment=environment,
                on_line=on_line,
                keep_open=(self.lock,),
            )
        except CommandFailedError as error:
            raise self._named(error) from error

    def _named(self, error: CommandFailedError) -> BuildError | DiskFullError:
        lines = [line for line in error.lines if " " in line and not line.startswith("go: downloading ")]
        text = "\n".join(lines)
        if "no space left on device" in text or "disk quota exceeded" in text:
            return DiskFullError(self.binary.folder.parent)
        told = lines[-1] if lines else str(error)
        if any(sign in text for sign in NETWORK_SIGNS):
            hint = f"connect to the network (needed once), or {OTHER_CLUSTER_HINT}"
            return BuildError(f"Kubernetes' source cannot be fetched: {told}", hint=hint)
        return BuildError(
            f"the control plane does not compile: {told}", hint=f"run it again, or {OTHER_CLUSTER_HINT}"
        )


def link_flags(version: str) -> str:
    """Linker flags that make server, client library and kubectl all say `version` (like ``v1.36.3``)."""
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())
