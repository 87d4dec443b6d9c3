"""A local cluster loses nothing and leaves nothing behind, however the processes end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fita.base.clock import utc_now
from fita.kube.client import KubernetesClient
from fita.kube.errors import KubeError
from fita.kube.kubeconfig import load_kubeconfig
from fita.kube.resource import CONFIG_MAPS
from fita.localcluster import pki
from fita.localcluster.apply import apply_manifests
from fita.localcluster.build.binary import ControlPlaneBinary
from fita.localcluster.cluster import LocalCluster
from fita.localcluster.errors import CertificateExpiredError, DataFolderInUseError, ManifestError, PortInUseError
from fita.localcluster.folder import ClusterState, DataFolder, running_state, shut_down

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DEADLINE_S = 90

OWNER = """
import asyncio, sys
from pathlib import Path
from fita.app.interrupt import until_interrupted
from fita.base.logging import configure_logging
from fita.localcluster.build.compilation import ensure_built
from fita.localcluster.cluster import LocalCluster

async def main():
    async with LocalCluster(Path(sys.argv[1]), await ensure_built()) as cluster:
        print("ready", flush=True)
        await cluster.run()

configure_logging()  # to standard error
asyncio.run(until_interrupted(main()))
"""


@asynccontextmanager
async def owner(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that runs a cluster, ready; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        async with asyncio.timeout(DEADLINE_S):
            while running_state(data_dir) is not None:  # its control plane sees that its parent has gone
                await asyncio.sleep(0.05)


def state_of(data_dir: Path) -> ClusterState:
    state = running_state(data_dir)
    assert state is not None
    return state


def control_plane_of(data_dir: Path) -> int:
    pid = state_of(data_dir).control_plane_pid
    assert pid is not None
    return pid


def client(data_dir: Path) -> KubernetesClient:
    return KubernetesClient(load_kubeconfig(data_dir / "admin.kubeconfig"))


async def create(api: KubernetesClient, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
    async with asyncio.timeout(DEADLINE_S):
        await api.create(CONFIG_MAPS, body, namespace="default")


async def names(data_dir: Path) -> set[str]:
    async with client(data_dir) as api, asyncio.timeout(DEADLINE_S):
        listing = await api.list(CONFIG_MAPS, namespace="default")
    return {item["metadata"]["name"] for item in listing.items}


async def write_until_cut_off(data_dir: Path, acknowledged: list[str], enough: asyncio.Event) -> None:
    """Create objects one after the other, note each that the server has acknowledged."""
    with suppress(KubeError, TimeoutError):
        async with client(data_dir) as api:
            for number in range(100_000):
                await create(api, f"object-{number}")
                acknowledged.append(f"object-{number}")
                if number == 100:
                    enough.set()


async def test_kill_9_of_everything_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    enough = asyncio.Event()
    async with owner(tmp_path) as process:
        port = state_of(tmp_path).port
        async with asyncio.TaskGroup() as group:
            group.create_task(write_until_cut_off(tmp_path, acknowledged, enough))
            await enough.wait()
            os.kill(control_plane_of(tmp_path), signal.SIGKILL)
            process.kill()
    assert len(acknowledged) > 100
    async with owner(tmp_path):
        assert await names(tmp_path) >= set(acknowledged)
        assert state_of(tmp_path).port == port  # kubeconfigs that were copied elsewhere still hold


async def test_kill_9_of_the_owner_ends_the_control_plane_too(tmp_path: Path) -> None:
    async with owner(tmp_path) as process:
        control_plane = control_plane_of(tmp_path)
        async with client(tmp_path) as api:
            await create(api, "kept")
        process.kill()
        await process.wait()
        async with owner(tmp_path):  # waits until the first control plane has gone: two would spoil the database
            with pytest.raises(ProcessLookupError):
                os.kill(control_plane, 0)
            assert "kept" in await names(tmp_path)


async def test_crash_is_followed_by_a_restart(tmp_path: Path) -> None:
    async with owner(tmp_path) as process:
        first = control_plane_of(tmp_path)
        async with client(tmp_path) as api:
            await create(api, "kept")
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE_S):
            while not (state_of(tmp_path).ready and control_plane_of(tmp_path) != first):
                await asyncio.sleep(0.05)
        assert "kept" in await names(tmp_path)
        assert process.returncode is None


async def test_a_second_start_is_refused_and_the_first_ends_in_order(
    tmp_path: Path, control_plane: ControlPlaneBinary
) -> None:
    async with owner(tmp_path) as process:
        pid = control_plane_of(tmp_path)
        with pytest.raises(DataFolderInUseError, match=f"process {process.pid} already runs"):
            async with LocalCluster(tmp_path, control_plane):
                pass
        async with client(tmp_path) as api, asyncio.timeout(DEADLINE_S):
            assert await api.version() == control_plane.version  # the first is unharmed
        async with asyncio.timeout(DEADLINE_S):
            await shut_down(tmp_path)
            assert await process.wait() == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert running_state(tmp_path) is None
        log = (tmp_path / "control-plane.log").read_text()
        assert "Stopped listening on 127.0.0.1" in log
        # Of a request that the end cuts off Kubernetes says "panicked: false".
        assert not any(sign in log for sign in ("panic: ", "Observed a panic", "panicked: true"))


async def test_wanted_port_in_use_is_named(tmp_path: Path, control_plane: ControlPlaneBinary) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} on 127.0.0.1 is in use by another program"):
            async with LocalCluster(tmp_path, control_plane, port=port):
                pass
    assert running_state(tmp_path) is None


async def test_expired_certificates_are_renewed(tmp_path: Path, control_plane: ControlPlaneBinary) -> None:
    """As after a year in a drawer: everything but the authority has expired."""
    folder = DataFolder.at(tmp_path)
    folder.create()
    names = pki.default_server_names("127.0.0.1", "10.96.0.1")
    long_ago = utc_now() - timedelta(days=pki.LEAF_DAYS + 10)
    authority = pki.ensure_pki(folder.pki, server_names=names, clock=lambda: long_ago)
    assert pki.expires_at((folder.pki / "apiserver.crt").read_bytes()) < utc_now()
    async with LocalCluster(tmp_path, control_plane):
        async with client(tmp_path) as api, asyncio.timeout(DEADLINE_S):
            assert await api.version() == control_plane.version
    assert (folder.pki / "ca.crt").read_bytes() == authority.pem


async def test_a_run_of_eleven_months_is_warned(tmp_path: Path, control_plane: ControlPlaneBinary) -> None:
    passed = timedelta(0)
    async with LocalCluster(tmp_path, control_plane, clock=lambda: utc_now() + passed) as cluster:
        passed = timedelta(days=340)
        with capture_logs() as lines:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await cluster.run()
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [line["event"] for line in warnings] == ["certificates expire soon"]


async def test_refused_manifest_is_named(tmp_path: Path, control_plane: ControlPlaneBinary) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "role.yaml").write_text(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: Not_A_Name}\n"
    )
    async with LocalCluster(tmp_path / "data", control_plane) as cluster:
        with pytest.raises(ManifestError, match='Namespace "Not_A_Name" is invalid'):
            await apply_manifests(cluster, tmp_path / "deploy")


async def test_expired_authority_is_named(tmp_path: Path, control_plane: ControlPlaneBinary) -> None:
    folder = DataFolder.at(tmp_path)
    folder.create()
    long_ago = utc_now() - timedelta(days=pki.AUTHORITY_DAYS + 10)
    pki.ensure_pki(folder.pki, server_names=["localhost"], clock=lambda: long_ago)
    with pytest.raises(CertificateExpiredError, match=r"ca\.crt expired on") as caught:
        async with LocalCluster(tmp_path, control_plane):
            pass
    assert "delete the folder" in caught.value.hint
