"""How the end of the control plane is explained. A shell script stands for the program."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fita.base.disk import DiskFullError
from fita.localcluster.build.binary import ControlPlaneBinary
from fita.localcluster.cluster import LocalCluster
from fita.localcluster.errors import ControlPlaneError, LocalClusterError, PortInUseError
from fita.localcluster.folder import ClusterState, DataFolder, FolderLock, running_state
from fita.localcluster.process import ControlPlaneProcess

IN_USE = "failed to create listener: failed to listen on 127.0.0.1:7443: listen tcp: bind: address already in use"


def program(folder: Path, script: str) -> ControlPlaneBinary:
    folder.mkdir()
    path = folder / "fita-controlplane"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return ControlPlaneBinary(folder, "v1.36.3")


async def run_to_end(tmp_path: Path, script: str) -> LocalClusterError:
    """Run the script as a control plane; how its end is explained."""
    folder = DataFolder.at(tmp_path / "data")
    folder.create()
    async with FolderLock(folder) as lock:
        process = ControlPlaneProcess(program(tmp_path / "bin", script), folder, port=7443, lock_fd=lock.fileno)
        await process.start()
        return await process.wait_ended()


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (
            f"echo 'fita-controlplane: kube-apiserver: {IN_USE}' >&2; exit 1",
            PortInUseError,
            "port 7443 on 127.0.0.1 is in use by another program",
        ),
        ("echo 'panic: write: no space left on device' >&2; exit 2", DiskFullError, "/data"),
        (
            "echo 'fita-controlplane: etcd: broken' >&2; exit 1",
            ControlPlaneError,
            "ended with status 1: etcd: broken",
        ),
        ("echo 'E1124 08:24:30.4 2 x.go:9] harmless'; kill -9 $$", ControlPlaneError, "ended by signal 9"),
        ("exit 0", ControlPlaneError, "ended with status 0"),
    ],
)
async def test_end_is_explained(tmp_path: Path, script: str, kind: type[LocalClusterError], says: str) -> None:
    error = await run_to_end(tmp_path, script)
    assert type(error) is kind
    assert error.message.endswith(says)


async def test_it_gets_its_arguments_the_lock_and_a_private_umask(tmp_path: Path) -> None:
    error = await run_to_end(tmp_path, 'touch made; echo "$@" $(umask) >&2; exec flock -n lock true')
    assert isinstance(error, ControlPlaneError)
    written = (tmp_path / "data" / "control-plane.log").read_text()
    assert "--data-dir=" + str(tmp_path / "data") in written
    assert "--port=7443 --service-cidr=10.96.0.0/16 --until-stdin-closes 0077" in written
    assert "status 1" in error.reason  # another open file of the lock cannot take it


async def test_its_input_ends_with_us(tmp_path: Path) -> None:
    """What `kill -9` does to us, seen from the program: standard input ends."""
    folder = DataFolder.at(tmp_path / "data")
    folder.create()
    reading = program(tmp_path / "bin", "cat; echo ended > told")
    read_fd, write_fd = os.pipe()
    child = await asyncio.create_subprocess_exec(str(reading.program), stdin=read_fd, cwd=folder.path)
    os.close(read_fd)
    os.close(write_fd)
    await child.wait()
    assert (folder.path / "told").exists()


async def test_stop_is_orderly_first_and_forced_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fita.localcluster.process.STOP_DEADLINE_S", 0.2)
    folder = DataFolder.at(tmp_path / "data")
    folder.create()
    stubborn = program(tmp_path / "bin", "trap 'echo asked' TERM; echo up; while :; do read line; done")
    async with FolderLock(folder) as lock:
        process = ControlPlaneProcess(stubborn, folder, port=7443, lock_fd=lock.fileno)
        await process.start()
        async with asyncio.timeout(10):
            while "up" not in folder.log.read_text():
                await asyncio.sleep(0.01)
            await process.stop()
    assert process.ended
    assert "asked" in folder.log.read_text()


async def test_a_start_that_fails_leaves_the_folder_free(tmp_path: Path) -> None:
    broken = program(tmp_path / "bin", "echo 'fita-controlplane: etcd: broken' >&2; exit 1")
    for _ in range(2):
        with pytest.raises(ControlPlaneError, match="etcd: broken"):
            async with LocalCluster(tmp_path / "data", broken):
                pass
        assert running_state(tmp_path / "data") is None
    state = DataFolder.at(tmp_path / "data").read_state()
    assert state is not None
    assert not state.ready


async def test_a_start_that_is_cancelled_leaves_nothing_running(tmp_path: Path) -> None:
    silent = program(tmp_path / "bin", "echo $$ > pid; exec sleep 60")
    pid = tmp_path / "data" / "pid"

    async def start() -> None:
        async with LocalCluster(tmp_path / "data", silent):
            pass

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(start())
        while not (pid.exists() and pid.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert running_state(tmp_path / "data") is None


@pytest.mark.parametrize(("wanted", "starts"), [(0, 3), (7443, 1)])
async def test_a_port_taken_at_the_last_moment_is_tried_again(tmp_path: Path, wanted: int, starts: int) -> None:
    unlucky = program(tmp_path / "bin", f"echo start >> starts; echo '{IN_USE}'; exit 1")
    with pytest.raises(PortInUseError):
        async with LocalCluster(tmp_path / "data", unlucky, port=wanted):
            pass
    assert (tmp_path / "data" / "starts").read_text() == "start\n" * starts


async def test_a_folder_is_claimed_before_the_program_runs(tmp_path: Path) -> None:
    """A second start in the first moments is refused, `fita down` knows whom to end, the port is not forgotten."""
    folder = DataFolder.at(tmp_path / "data")
    folder.create()
    old = ClusterState(pid=os.getpid() + 1_000_000, port=7443, url="", kubernetes_version="v1.36.3", ready=True)
    folder.write_state(old)
    missing = ControlPlaneBinary(tmp_path, "v1.36.3")
    with pytest.raises(ControlPlaneError, match="fita-controlplane cannot be run: No such file or directory"):
        async with LocalCluster(tmp_path / "data", missing):
            pass
    assert folder.read_state() == ClusterState(pid=os.getpid(), port=7443, url="", kubernetes_version="v1.36.3")
