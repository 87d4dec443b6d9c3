"""The compiled control plane in the user's cache folder: where it is, who uses it, and what may be removed.

    <cache>/controlplane/<hash>/fita-controlplane   and kubectl, its second name
    <cache>/controlplane/<hash>/in-use              locked, shared, by everyone who runs it

The folder's times say when it was last used. Nothing here compiles.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fita.localcluster.errors import BuildError

PROGRAM = "fita-controlplane"
RECIPE = 1
"""To be raised when the way of compiling changes what comes out."""

KEPT_OTHERS = 2
"""So many binaries of other sources stay, those used last: for another checkout, or for going back a release."""


@dataclass(frozen=True, slots=True)
class ControlPlaneBinary:
    """A compiled control plane. `version` is Kubernetes' own, like ``v1.36.3``."""

    folder: Path
    version: str

    @property
    def program(self) -> Path:
        return self.folder / PROGRAM

    @property
    def kubectl(self) -> Path:
        return self.folder / "kubectl"

    @property
    def complete(self) -> bool:
        return self.program.exists() and self.kubectl.exists()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the binary from being removed by another process that compiles a newer one."""
        fd = os.open(self.folder / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            os.utime(self.folder)
            yield
        finally:
            os.close(fd)


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/fita``, else ``~/.cache/fita``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fita"


def source_files(sources: Path) -> list[Path]:
    """Everything that the binary is made of, in a fixed order."""
    names = [path for path in sources.rglob("*.go") if not path.name.endswith("_test.go")]
    return sorted([*names, sources / "go.mod", sources / "go.sum"])


def source_hash(sources: Path) -> str:
    """Names the binary: of the sources' names and contents, this kind of machine and the way of compiling."""
    digest = hashlib.sha256(f"{RECIPE} {platform.system()} {platform.machine()}\n".encode())
    for path in source_files(sources):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(sources).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:20]


def kubernetes_version(sources: Path) -> str:
    """The version that go.mod in `sources` requires, like ``v1.36.3``. Raises `BuildError`."""
    text = (sources / "go.mod").read_text(encoding="utf-8")
    match = re.search(r"^require k8s\.io/kubernetes (v\d+\.\d+\.\d+)$", text, re.MULTILINE)
    if match is None:
        raise BuildError(f"{sources / 'go.mod'} does not name a version of Kubernetes", hint="install FITA again")
    return match[1]


def remove_unused(cache: Path, kept: Path) -> list[Path]:
    """Remove binaries other than `kept` that nobody runs, except the `KEPT_OTHERS` used last; return what went."""
    others = [path for path in cache.iterdir() if path.is_dir() and path != kept and not path.name.startswith(".")]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    removed = [path for path in others[KEPT_OTHERS:] if not _is_in_use(path)]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return removed


def _is_in_use(folder: Path) -> bool:
    try:
        fd = os.open(folder / "in-use", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
