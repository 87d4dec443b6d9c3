"""A lock is held by one, and says by whom."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from fita.base.disk import DiskError, DiskFullError, disk_errors, make_folder, write_private
from fita.base.lock import FileLock, holder, is_held


async def test_a_lock_says_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    first, second = FileLock(path), FileLock(path)
    assert await first.acquire()
    assert holder(path) == os.getpid()
    assert not await second.acquire(patience_s=0.05)
    first.release()
    assert holder(path) is None
    assert not is_held(path)
    async with second.held() as taken:
        assert taken
    assert await first.acquire()
    first.release()


def test_a_number_that_nobody_locks_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(f"{os.getpid()}\n")
    assert holder(path) is None


async def test_a_child_holds_on_to_what_it_inherits(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert await lock.acquire()
    child = await asyncio.create_subprocess_exec("sleep", "60", pass_fds=(lock.fileno,))
    lock.release()
    try:
        assert is_held(lock.path)
    finally:
        child.kill()
        await child.wait()
    assert not is_held(lock.path)


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    write_private(tmp_path / "a" / "b" / "file", b"secret")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b" / "file").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_what_the_system_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="Not a directory"):
        make_folder(tmp_path / "file" / "folder")
    with pytest.raises(DiskError, match="File exists") as caught:
        make_folder(tmp_path / "file")
    assert caught.value.hint
    with pytest.raises(DiskFullError, match="no space is left"):
        with disk_errors(Path("/dev/full")), open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")
