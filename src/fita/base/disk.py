"""Files and folders that only their owner may read, replaced in one step, and what goes wrong with them in words.

FitaError
└── DiskError          a file or folder cannot be used
    └── DiskFullError  for lack of space or quota
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fita.base.errors import FitaError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


class DiskError(FitaError):
    """The file or folder `path` cannot be used."""

    def __init__(self, path: Path, reason: str, *, hint: str = "make it usable, or choose another folder") -> None:
        super().__init__(f"cannot use {path}: {reason}", hint=hint)
        self.path = path


class DiskFullError(DiskError):
    """A file could not be written for lack of space or quota."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "no space left")
        self.message = f"no space is left on the disk that holds {path}"
        self.hint = "free some space and start again"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a `DiskError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(path) from error
        raise DiskError(path, os.strerror(error.errno) if error.errno else str(error)) from error


def make_folder(path: Path) -> None:
    """Make the folder, for this user only, and those above it, where they are missing. Raises `DiskError`."""
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step that a loss of power does not tear. Raises `DiskError`."""
    with disk_errors(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
