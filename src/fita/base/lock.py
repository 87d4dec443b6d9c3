"""A lock that one process holds, and that says which: flock(2) on a file that holds the number of its owner.

The system gives the lock back however its owner ends, so that a number in a file that nobody locks means nothing:
after a reboot, or in a container, it is some other process's. A child that inherits `fileno` holds the lock too.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fita.base.disk import PRIVATE_FILE, disk_errors

POLL_S = 0.1
PROBE_S = 0.5
"""`is_held` holds the lock, shared, for a moment: whoever finds it taken looks again for so long."""


class FileLock:
    """The lock at `path`, in a folder that exists. Held from `acquire` to `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def fileno(self) -> int:
        if self._fd is None:
            raise RuntimeError(f"{self.path} is not locked")
        return self._fd

    async def acquire(self, *, patience_s: float = PROBE_S) -> bool:
        """Take the lock; False when another holds it for all of `patience_s`. Raises `DiskError`."""
        with disk_errors(self.path):
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            async with asyncio.timeout(patience_s):
                while not _try_lock(fd, fcntl.LOCK_EX):
                    await asyncio.sleep(POLL_S)
            with disk_errors(self.path):
                os.ftruncate(fd, 0)
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, TimeoutError):
                return False
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lock back; a child that inherited it still holds it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[bool]:
        """Whether the lock could be taken; it is held inside if so."""
        taken = await self.acquire()
        try:
            yield taken
        finally:
            self.release()


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock at `path`. Raises `DiskError`."""
    return _look(path) is not None


def holder(path: Path) -> int | None:
    """The process that took the lock at `path`; None when nobody holds it. Raises `DiskError`.

    Of a lock that children inherit it says only who took it, not whether that one still lives.
    """
    text = _look(path)
    return int(text) if text is not None and text.strip().isdigit() else None


def _look(path: Path) -> bytes | None:
    """What is written in a lock that is held, else None."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        with disk_errors(path):
            raise
    try:
        return None if _try_lock(fd, fcntl.LOCK_SH) else os.pread(fd, 32, 0)
    finally:
        os.close(fd)


def _try_lock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
