"""Looks at a running gateway from outside, and ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec

from fita.app.output_client import in_words
from fita.app.state import GatewayState, authority, gateway_pid, read_state
from fita.base.errors import FitaError
from fita.localcluster.errors import NotRunningError
from fita.localcluster.folder import running_state, shut_down

POLL_S = 0.05
PROBE_DEADLINE_S = 5.0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What `fita status` shows. `reason` says why it is not healthy."""

    healthy: bool
    reason: str = ""
    gateway: GatewayState | None = None

    def lines(self) -> list[tuple[str, str]]:
        """Name and text of each line for people."""
        if self.gateway is None:
            return [("gateway", self.reason)]
        host, port = self.gateway.coap_address
        enrolment = "open" if self.gateway.open_enrolment else "by `fita device enroll`"
        rows = [
            ("gateway", f"{self.reason or 'ready'} (process {self.gateway.pid}, {self.gateway.gateway_name})"),
            ("devices", f"coap://{authority(host, port)}, enrolment {enrolment}"),
            ("http", self.gateway.http_url),
        ]
        if self.gateway.kubernetes_version:
            rows.append(("kubernetes", self.gateway.kubernetes_version))
        if self.gateway.kubeconfig:
            rows.append(("kubeconfig", self.gateway.kubeconfig))
        return rows


async def read_status(data_dir: Path) -> Status:
    """Ask the gateway of `data_dir` whether it is ready."""
    state = read_state(data_dir)
    if state is None:
        return Status(healthy=False, reason=_absence(data_dir))
    timeout = aiohttp.ClientTimeout(total=PROBE_DEADLINE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(f"{state.http_url}/readyz") as response:
                text = await response.text()
                reason = "" if response.status == 200 else text.strip() or f"answers {response.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        reason = in_words(error)
    return Status(healthy=not reason, reason=reason, gateway=state)


def _absence(data_dir: Path) -> str:
    """Why there is no gateway to ask."""
    pid, cluster = gateway_pid(data_dir), running_state(data_dir)
    kubernetes = ""
    if cluster is not None:
        kubernetes = f"; Kubernetes is {'ready' if cluster.ready else 'starting or stopping'}"
    if pid is not None:
        return f"starting or stopping (process {pid}){kubernetes}"
    if cluster is not None:
        return f"not running{kubernetes}"
    return f"not running with the data folder {data_dir}; start it with `fita up`"


async def stop(data_dir: Path, *, timeout_s: float) -> str:
    """Ask the gateway and the local cluster to end, and wait for it; what was stopped, empty if nothing.

    Nobody is told to end but who holds the folder's lock now.
    """
    state, pid, cluster = read_state(data_dir), gateway_pid(data_dir), running_state(data_dir)
    if pid is None and cluster is None:
        return ""
    owner = pid if pid is not None else cluster.pid if cluster is not None else 0
    try:
        async with asyncio.timeout(timeout_s):
            if pid is not None:
                await _stop_gateway(data_dir, pid)
            if running_state(data_dir) is not None:
                await _stop_cluster(data_dir)
    except TimeoutError as error:
        raise FitaError(
            f"process {owner} did not end within {timeout_s:g} s",
            hint=f"look at {data_dir / 'gateway.log'}, then end it with `kill -9 {owner}`",
        ) from error
    name = f"gateway {state.gateway_name}" if state is not None else "gateway" if pid else "local Kubernetes"
    return f"{name} (process {owner})"


async def _stop_gateway(data_dir: Path, pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while gateway_pid(data_dir) == pid:
        await asyncio.sleep(POLL_S)


async def _stop_cluster(data_dir: Path) -> None:
    """End a control plane that outlives its gateway, as one does that was killed."""
    with suppress(NotRunningError):
        await shut_down(data_dir)
