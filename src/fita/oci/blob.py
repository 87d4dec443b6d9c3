"""Content on disk by its digest: written in one step, verified at every read.

A file appears under its digest only when it is complete, so a process killed at any time leaves at most a
temporary file, which the next writer removes. A folder that somebody deletes meanwhile is made again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fita.oci.errors import IntegrityError, StoreError, StoreFullError
from fita.oci.manifest import digest_of, verify

_TEMPORARY_PREFIX = ".partial-"


class BlobFolder:
    """``blobs/sha256`` inside `root`. With `durable` a write has reached the disk when it returns."""

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self._durable = durable

    def path_of(self, digest: str) -> Path:
        """Where the content of `digest` is or would be."""
        algorithm, _, name = digest.partition(":")
        return self.root / "blobs" / algorithm / name

    def read(self, digest: str, *, limit_bytes: int) -> bytes | None:
        """The content, or None when it is not there. Raises `IntegrityError` for damaged content, `StoreError`."""
        path = self.path_of(digest)
        try:
            if path.stat().st_size > limit_bytes:
                raise IntegrityError(f"{path} is larger than the {limit_bytes} bytes allowed", hint="remove it")
            return verify(path.read_bytes(), digest, what=str(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(path, f"cannot be read: {error.strerror}") from error

    def write(self, data: bytes) -> str:
        """Keep `data` and return its digest. Content that is there already is left alone."""
        digest = digest_of(data)
        path = self.path_of(digest)
        # A file of the right size may still be damaged, so it is read and not only looked for.
        with suppress(IntegrityError):
            if self.read(digest, limit_bytes=len(data)) is not None:
                return digest
        replace_file(path, data, durable=self._durable)
        return digest

    def discard(self, digest: str) -> None:
        """Forget content, if it is there."""
        with disk_errors(self.root):
            self.path_of(digest).unlink(missing_ok=True)


def replace_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Make `path` hold `data`, in one step. Raises `StoreFullError`, `StoreError`; then nothing has changed."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        if durable:
            _sync_folder(path.parent)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed writers left in `folder`. Only for who holds the lock of all writers."""
    with disk_errors(folder):
        for path in folder.glob(f"{_TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone among all processes; waits for its present holder.

    The kernel releases it when the holder ends, however it ends (flock(2)).
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system into `StoreError`s that name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(path, "the disk is full", hint="free some space and try again") from error
        raise StoreError(path, f"cannot be written: {error.strerror}", hint="check the folder's owner") from error
