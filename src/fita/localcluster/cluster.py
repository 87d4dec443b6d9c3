"""A local Kubernetes cluster on a data folder: certificates, port, kubeconfigs, and a control plane kept running.

Use::

    async with LocalCluster(data_dir, binary) as cluster:   # returns when it takes requests
        async with asyncio.TaskGroup() as group:
            group.create_task(cluster.run())

It runs no nodes: pods need a kubelet, for instance a gateway's.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from fita.base.backoff import Backoff
from fita.base.clock import Clock, rfc3339, utc_now
from fita.base.disk import DiskError
from fita.localcluster import pki
from fita.localcluster.build.binary import ControlPlaneBinary
from fita.localcluster.errors import LocalClusterError, PortInUseError
from fita.localcluster.folder import ClusterState, DataFolder, FolderLock
from fita.localcluster.kubeconfig import client_certificate, ensure_kubeconfig
from fita.localcluster.port import choose_port
from fita.localcluster.process import BIND_ADDRESS, SERVICE_ADDRESS, ControlPlaneProcess

log = structlog.get_logger(__name__)

PORT_ATTEMPTS = 3
"""A port found free may be taken by another program until the API server has it."""
LOG_CHECK_S = 30.0
WARN_BEFORE = timedelta(days=30)
WARN_EVERY_S = 24 * 3600.0


class LocalCluster:
    """The cluster of one data folder, started on entry and stopped on exit of ``async with``.

    `port` 0 means the last one used, or a free one. Raises on entry: `DataFolderInUseError`, `PortInUseError`,
    `DiskError`, `CertificateError`, `CertificateExpiredError` (the authority's own), `ControlPlaneError`.
    """

    def __init__(
        self, data_dir: Path, binary: ControlPlaneBinary, *, port: int = 0, clock: Clock = utc_now
    ) -> None:
        self.folder = DataFolder.at(data_dir)
        self._binary = binary
        self._wanted_port = port
        self._clock = clock
        self._lock = FolderLock(self.folder)
        self._resources = AsyncExitStack()
        self._process: ControlPlaneProcess | None = None
        self._identities_end_at = datetime.max.replace(tzinfo=UTC)

    @property
    def admin_kubeconfig(self) -> Path:
        """For people: may do everything."""
        return self.folder.admin_kubeconfig

    @property
    def gateway_kubeconfig(self) -> Path:
        """For the gateway: user ``fita:gateway`` of the group ``fita:gateways``, without rights of its own."""
        return self.folder.gateway_kubeconfig

    @property
    def kubectl(self) -> Path:
        return self._binary.kubectl

    @property
    def kubernetes_version(self) -> str:
        return self._binary.version

    @property
    def url(self) -> str:
        """The API server's address."""
        return self._running.url

    @property
    def control_plane_pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.folder.create()
            await stack.enter_async_context(self._lock)
            stack.enter_context(self._binary.in_use())
            self._claim()
            await self._start()
            self._resources = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._resources:
            with suppress(DiskError):  # a full disk must not keep it from stopping
                self._write_state(ready=False)
            await self._running.stop()
        log.info("local cluster stopped", data_dir=str(self.folder.path))

    async def run(self) -> None:
        """Keep the control plane running for ever: a crash is logged with its reason and followed by a restart."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_running())
            group.create_task(self._keep_log_short())
            group.create_task(self._warn_of_expiry())

    def _claim(self) -> None:
        """Write down whose folder it is, before anything takes time: a second start and `fita down` read it."""
        version = self.kubernetes_version
        self.folder.write_state(
            ClusterState(pid=os.getpid(), port=self._last_port(), url="", kubernetes_version=version)
        )

    def _last_port(self) -> int:
        """The port of the last run, 0 when there was none."""
        last = self.folder.read_state()
        return last.port if last is not None else 0

    async def _start(self) -> None:
        """Start the control plane and return when it is ready; on failure nothing runs."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                return await self._start_once()
            except PortInUseError:
                if self._wanted_port or attempt == PORT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def _start_once(self) -> None:
        last = self._last_port()
        port = choose_port(BIND_ADDRESS, wanted=self._wanted_port, last=last)
        if last and last != port:
            log.warning("port of the API server changed", last=last, port=port)
        process = ControlPlaneProcess(self._binary, self.folder, port=port, lock_fd=self._lock.fileno)
        authority = self._ensure_identities(process.url)
        self._process = process
        try:
            await process.start()
            self._write_state(ready=False)
            await process.wait_ready(authority.pem)
            self._write_state(ready=True)
        except BaseException:
            await process.stop()
            raise
        log.info("local cluster ready", url=process.url, version=self.kubernetes_version)

    def _ensure_identities(self, url: str) -> pki.Authority:
        names = pki.default_server_names(BIND_ADDRESS, SERVICE_ADDRESS)
        authority = pki.ensure_pki(self.folder.pki, server_names=names, clock=self._clock)
        certificates = [(self.folder.pki / "apiserver.crt").read_bytes()]
        for path, identity in self._identities().items():
            ensure_kubeconfig(path, identity, authority=authority, server=url, clock=self._clock)
            certificates.append(client_certificate(path))
        self._identities_end_at = min(pki.expires_at(certificate) for certificate in certificates)
        return authority

    def _identities(self) -> dict[Path, pki.Identity]:
        return {
            self.folder.pki / "controller-manager.kubeconfig": pki.CONTROLLER_MANAGER,
            self.folder.pki / "scheduler.kubeconfig": pki.SCHEDULER,
            self.folder.admin_kubeconfig: pki.ADMIN,
            self.folder.gateway_kubeconfig: pki.GATEWAY,
        }

    def _write_state(self, *, ready: bool) -> None:
        process = self._running
        self.folder.write_state(
            ClusterState(
                pid=os.getpid(),
                port=process.port,
                url=process.url,
                kubernetes_version=self.kubernetes_version,
                control_plane_pid=process.pid,
                ready=ready,
            )
        )

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while True:
            started = loop.time()
            reason = await self._running.wait_ended()
            if loop.time() - started > backoff.limit_s:
                backoff.reset()
            log.error("control plane ended", reason=reason.message)
            await self._restart(backoff)

    async def _restart(self, backoff: Backoff) -> None:
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                return await self._start()
            except (LocalClusterError, DiskError) as error:
                log.error("control plane does not start", reason=error.message, hint=error.hint)

    async def _keep_log_short(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            self._running.shorten_log()

    async def _warn_of_expiry(self) -> None:
        """Certificates are renewed at every start long before they end; a run that lasts for months needs one."""
        while True:
            if self._identities_end_at - self._clock() < WARN_BEFORE:
                hint = "stop `fita up` and start it again: it renews them"
                log.warning("certificates expire soon", expire_at=rfc3339(self._identities_end_at), hint=hint)
            await asyncio.sleep(WARN_EVERY_S)

    @property
    def _running(self) -> ControlPlaneProcess:
        if self._process is None:
            raise RuntimeError("the cluster has not been started")
        return self._process
