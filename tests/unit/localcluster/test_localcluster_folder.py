"""The data folder: private, locked by one, handed over only when everything that ran on it has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fita.base.disk import DiskError, DiskFullError, disk_errors, write_private
from fita.localcluster.errors import DataFolderInUseError, NotRunningError
from fita.localcluster.folder import ClusterState, DataFolder, FolderLock, running_state, shut_down

STATE = ClusterState(pid=os.getpid(), port=6443, url="https://127.0.0.1:6443", kubernetes_version="v1.36.3")

HOLDER = """
import asyncio, signal, sys
from pathlib import Path
from fita.localcluster.folder import ClusterState, DataFolder, FolderLock
import os
async def main():
    folder = DataFolder.at(Path(sys.argv[1]))
    folder.create()
    async with FolderLock(folder):
        folder.write_state(ClusterState(pid=os.getpid(), port=1, url="", kubernetes_version=""))
        print("locked", flush=True)
        await asyncio.Event().wait()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
asyncio.run(main())
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of `folder`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


async def test_lock_refuses_a_second_process(tmp_path: Path) -> None:
    other = hold(tmp_path)
    try:
        assert running_state(tmp_path) is not None
        with pytest.raises(DataFolderInUseError, match=f"process {other.pid} already runs") as caught:
            await FolderLock(DataFolder.at(tmp_path)).acquire()
        assert "fita down" in caught.value.hint
    finally:
        end(other)
    async with FolderLock(DataFolder.at(tmp_path)):
        pass


async def test_lock_waits_for_what_a_dead_owner_left_running(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    first = FolderLock(folder)
    await first.acquire()
    left = await asyncio.create_subprocess_exec("sleep", "60", pass_fds=(first.fileno,))
    first.release()
    folder.write_state(ClusterState(pid=left.pid + 1_000_000, port=1, url="", kubernetes_version=""))
    try:
        with pytest.raises(DataFolderInUseError, match="another process"):
            await FolderLock(folder, patience_s=0.2).acquire()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            second = FolderLock(folder)
            waiting = group.create_task(second.acquire())
            await asyncio.sleep(0)
            assert not waiting.done()
            left.kill()
        second.release()
    finally:
        await left.wait()


async def test_shut_down_ends_nobody_but_the_owner(tmp_path: Path) -> None:
    """The number in a file of the last run may be another process's by now."""
    folder = DataFolder.at(tmp_path)
    first = FolderLock(folder)
    await first.acquire()
    left = await asyncio.create_subprocess_exec("sleep", "60", pass_fds=(first.fileno,))
    first.release()
    foreign = await asyncio.create_subprocess_exec("sleep", "60")
    folder.write_state(ClusterState(pid=foreign.pid, port=1, url="", kubernetes_version=""))
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await shut_down(tmp_path)
        with pytest.raises(DataFolderInUseError, match="another process"):
            await FolderLock(folder, patience_s=0.1).acquire()
        assert foreign.returncode is None
    finally:
        for process in (left, foreign):
            process.kill()
            await process.wait()


async def test_shut_down_ends_the_owner(tmp_path: Path) -> None:
    other = hold(tmp_path)
    try:
        async with asyncio.timeout(10):
            await shut_down(tmp_path)
        assert other.wait(timeout=10) in (0, -signal.SIGTERM)
        assert running_state(tmp_path) is None
        with pytest.raises(NotRunningError):
            await shut_down(tmp_path)
    finally:
        end(other)


def test_folder_and_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir(mode=0o755)
    folder = DataFolder.at(path)
    folder.create()
    folder.write_state(STATE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "state.json").stat().st_mode) == 0o600
    assert folder.read_state() == STATE


def test_damaged_state_is_none(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    assert folder.read_state() is None
    (tmp_path / "state.json").write_text('{"pid": "many"}')
    assert folder.read_state() is None


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"old")
    (tmp_path / f".file.{os.getpid()}").mkdir()  # where the new content would be written first
    with pytest.raises(DiskError, match="Is a directory"):
        write_private(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_full_disk_is_named() -> None:
    with pytest.raises(DiskFullError, match="no space is left on the disk that holds /dev/full"):
        with disk_errors(Path("/dev/full")), open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")
