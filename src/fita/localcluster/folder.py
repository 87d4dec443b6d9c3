"""The data folder of a local cluster: its layout, its lock, and what it says about the process that runs on it.

There are two locks (`fita.base.lock`). The owner's is its own and says who it is. The other is inherited by the
control plane, so the folder stays locked until both the process that started it and the control plane itself have
ended, however they ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from fita.base.disk import PRIVATE_FOLDER, disk_errors, make_folder, write_private
from fita.base.lock import FileLock, holder, is_held
from fita.localcluster.errors import DataFolderInUseError, NotRunningError

POLL_S = 0.1


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
    def lock(self) -> Path:
        """Held by everyone who runs on the folder."""
        return self.path / "lock"

    @property
    def owner_lock(self) -> Path:
        """Held by the process that started the others."""
        return self.path / "owner.lock"

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
        make_folder(self.path)
        with disk_errors(self.path):
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
        self._owner = FileLock(folder.owner_lock)
        self._everyone = FileLock(folder.lock)

    @property
    def fileno(self) -> int:
        return self._everyone.fileno

    async def acquire(self) -> None:
        if not await self._owner.acquire():
            raise DataFolderInUseError(self._folder.path, holder(self._folder.owner_lock))
        try:
            if not await self._everyone.acquire(patience_s=self._patience_s):
                raise DataFolderInUseError(self._folder.path, None)
        except BaseException:
            self._owner.release()
            raise

    def release(self) -> None:
        self._everyone.release()
        self._owner.release()

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def running_state(data_dir: Path) -> ClusterState | None:
    """The state of the cluster that runs on `data_dir` now, or None when none does. For `fita status`."""
    folder = DataFolder.at(data_dir)
    return folder.read_state() if is_held(folder.lock) else None


async def shut_down(data_dir: Path) -> None:
    """End the process that runs on `data_dir` and wait until its control plane has stopped too. For `fita down`.

    Nobody is told to end but who holds the folder. The caller owns the deadline. Raises `NotRunningError`.
    """
    folder = DataFolder.at(data_dir)
    if not is_held(folder.lock):
        raise NotRunningError(folder.path)
    owner = holder(folder.owner_lock)
    if owner is not None and owner != os.getpid():
        with suppress(ProcessLookupError):
            os.kill(owner, signal.SIGTERM)
    while is_held(folder.lock) or is_held(folder.owner_lock):
        await asyncio.sleep(POLL_S)
