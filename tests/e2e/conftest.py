"""What the end-to-end tests share: the compiled control plane, and one local cluster for most of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fita.cli.progress import BuildProgressBar
from fita.localcluster.apply import apply_manifests
from fita.localcluster.build.binary import ControlPlaneBinary
from fita.localcluster.build.compilation import ensure_built
from fita.localcluster.cluster import LocalCluster
from fita.localcluster.folder import DataFolder

KUBECTL_DEADLINE_S = 60
START_DEADLINE_S = 100


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A cluster to run tests against. It has no nodes until a test makes some."""

    data_dir: Path
    kubectl: Path
    admin_kubeconfig: Path
    gateway_kubeconfig: Path
    url: str
    kubernetes_version: str

    @property
    def control_plane_pid(self) -> int:
        """The process that runs now: one that is killed is followed by another."""
        state = DataFolder(self.data_dir).read_state()
        assert state is not None
        assert state.control_plane_pid is not None
        return state.control_plane_pid

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; its result. A failure is one of the test, unless `check` is False."""
        result = self.run_as(self.admin_kubeconfig, *arguments, stdin=stdin)
        if check and result.returncode != 0:
            pytest.fail(f"kubectl {' '.join(arguments)}: {result.stderr}")
        return result

    def run_as(
        self, kubeconfig: Path, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl with a kubeconfig."""
        command = [str(self.kubectl), f"--kubeconfig={kubeconfig}", f"--cache-dir={self.data_dir / 'cache'}"]
        return subprocess.run(
            [*command, *arguments],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=KUBECTL_DEADLINE_S,
            env={**os.environ, "KUBECTL_KUBERC": "false"},
        )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile before the first test rather than in it: that may take minutes, and no test has so many."""
    if session.config.option.collectonly or not any(item.get_closest_marker("e2e") for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), BuildProgressBar() as bar:
        asyncio.run(ensure_built(on_progress=bar.show))


@pytest.fixture(scope="session")
def control_plane() -> ControlPlaneBinary:
    """The compiled control plane, from the user's cache."""
    return asyncio.run(ensure_built())


@pytest.fixture(scope="session")
def cluster(
    control_plane: ControlPlaneBinary, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCluster]:
    """One cluster with FITA's manifests for all tests of the session. Whoever uses it cleans up after itself."""
    host = _Host(control_plane, tmp_path_factory.mktemp("cluster"))
    try:
        yield host.start()
    finally:
        host.stop()


class _Host:
    """Runs a cluster on an event loop of its own, in a thread: it must live while no test's loop does."""

    def __init__(self, binary: ControlPlaneBinary, data_dir: Path) -> None:
        self._binary = binary
        self._data_dir = data_dir
        self._started = threading.Event()
        self._running: RunningCluster | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cluster")

    def start(self) -> RunningCluster:
        self._thread.start()
        if not self._started.wait(START_DEADLINE_S):
            pytest.fail(f"the cluster was not ready after {START_DEADLINE_S} s")
        if self._running is None:
            raise RuntimeError("the cluster did not start") from self._error
        return self._running

    def stop(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        async with LocalCluster(self._data_dir, self._binary) as cluster:
            await apply_manifests(cluster)
            self._running = RunningCluster(
                data_dir=self._data_dir,
                kubectl=cluster.kubectl,
                admin_kubeconfig=cluster.admin_kubeconfig,
                gateway_kubeconfig=cluster.gateway_kubeconfig,
                url=cluster.url,
                kubernetes_version=cluster.kubernetes_version,
            )
            self._started.set()
            await cluster.run()
