"""The data folder of a local cluster: its layout, its lock, and what it says about the process that runs on it.

The lock is an advisory lock on an open file (flock(2)). The control plane inherits that file, so the folder stays
locked until both the process that started it and the control plane itself have ended, however they ended.
This module starts and stops nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from fita.localcluster.errors import DataFolderInUseError, NotRunningError, disk_errors

POLL_S = 0.1
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the owner of a data folder writes down: `pid` is the owner's, `port` is kept for the next start."""

    pid: int
    port: int
    url: str
    kubernetes_version: str
    control_plane_pid: int | None = None
    ready: bool = False


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The names inside a data folder. `path` is absolute."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> DataFolder:
        return cls(path.expanduser().absolute())

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def log(self) -> Path:
        return self.path / "control-plane.log"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.path / "admin.kubeconfig"

    @property
    def gateway_kubeconfig(self) -> Path:
        return self.path / "gateway.kubeconfig"

    def create(self) -> None:
        """Make the folder, for this user only."""
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            if stat.S_IMODE(self.path.stat().st_mode) != PRIVATE_FOLDER:
                self.path.chmod(PRIVATE_FOLDER)

    def read_state(self) -> ClusterState | None:
        """What the present or last owner wrote, or None."""
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=ClusterState)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_state(self, state: ClusterState) -> None:
        write_private(self.path / "state.json", msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")


class FolderLock:
    """The right to run on a data folder. `fileno` is inherited by the control plane.

    Use ``async with FolderLock(folder):``. Raises `DataFolderInUseError` when a living process holds it; when its
    owner is dead but its control plane is still stopping, waits for that, at most `patience_s`.
    """

    def __init__(self, folder: DataFolder, *, patience_s: float = 30.0) -> None:
        self._folder = folder
        self._patience_s = patience_s
        self._fd: int | None = None

    @property
    def fileno(self) -> int:
        if self._fd is None:
            raise RuntimeError("the folder is not locked")
        return self._fd

    async def acquire(self) -> None:
        fd = _open_lock(self._folder)
        try:
            async with asyncio.timeout(self._patience_s):
                while not _try_lock(fd, fcntl.LOCK_EX):
                    self._refuse_if_owner_lives()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            os.close(fd)
            raise DataFolderInUseError(self._folder.path, None) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _refuse_if_owner_lives(self) -> None:
        state = self._folder.read_state()
        if state is not None and _is_alive(state.pid):
            raise DataFolderInUseError(self._folder.path, state.pid)


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step, readable by this user only."""
    with disk_errors(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def running_state(data_dir: Path) -> ClusterState | None:
    """The state of the cluster that runs on `data_dir` now, or None when none does. For `fita status`."""
    folder = DataFolder.at(data_dir)
    return folder.read_state() if _is_locked(folder) else None


async def shut_down(data_dir: Path) -> None:
    """End the process that runs on `data_dir` and wait until its control plane has stopped too. For `fita down`.

    The caller owns the deadline. Raises `NotRunningError`.
    """
    folder = DataFolder.at(data_dir)
    state = running_state(data_dir)
    if state is None:
        raise NotRunningError(folder.path)
    if state.pid != os.getpid() and _is_alive(state.pid):
        os.kill(state.pid, signal.SIGTERM)
    while _is_locked(folder):
        await asyncio.sleep(POLL_S)


def _is_locked(folder: DataFolder) -> bool:
    if not (folder.path / "lock").exists():
        return False
    fd = _open_lock(folder)
    try:
        return not _try_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _open_lock(folder: DataFolder) -> int:
    with disk_errors(folder.path):
        return os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)


def _try_lock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
