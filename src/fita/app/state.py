"""The lock in the data folder that the running gateway holds, and the file that says where it is.

The file is written when the gateway is ready and removed when it stops. Nothing that it says is believed unless
somebody holds the lock: what a gateway left behind that was killed says nothing about the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from fita.base.disk import disk_errors, make_folder, write_private
from fita.base.errors import FitaError
from fita.base.lock import FileLock, holder

FILE_NAME = "gateway.json"
LOCK_NAME = "gateway.lock"
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Servers listen there on all interfaces; clients of this machine take the loopback one."""


class GatewayRunningError(FitaError):
    """A gateway runs on the data folder already. `pid` is None when it has not said yet who it is."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{owner} already runs a gateway on {data_dir}",
            hint="stop it with `fita down`, or choose another --data-dir",
        )
        self.pid = pid


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a gateway listens. `kubeconfig` is the administrator's when the cluster is the local one."""

    pid: int
    gateway_name: str
    coap_host: str
    coap_port: int
    http_url: str
    open_enrolment: bool
    kubeconfig: str | None = None
    kubernetes_version: str = ""
    kubectl: str = ""

    @property
    def coap_address(self) -> tuple[str, int]:
        """Where a device on this machine registers."""
        return (ANY_ADDRESS.get(self.coap_host, self.coap_host), self.coap_port)


def authority(host: str, port: int) -> str:
    """``host:port`` as in a URL: an IPv6 address stands in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def gateway_lock(data_dir: Path) -> AsyncIterator[None]:
    """Hold `data_dir` for the one gateway that runs on it. Makes the folder where it is missing.

    Raises `GatewayRunningError` and `DiskError`.
    """
    make_folder(data_dir)
    async with FileLock(data_dir / LOCK_NAME).held() as taken:
        if not taken:
            raise GatewayRunningError(data_dir, gateway_pid(data_dir))
        _remove_state(data_dir)  # left by one that was killed
        try:
            yield
        finally:
            _remove_state(data_dir)


def gateway_pid(data_dir: Path) -> int | None:
    """The process that runs a gateway on `data_dir`, ready or not; None when none does."""
    return holder(data_dir / LOCK_NAME)


def refuse_second(data_dir: Path) -> None:
    """Raise `GatewayRunningError` when a gateway runs on `data_dir` already."""
    pid = gateway_pid(data_dir)
    if pid is not None:
        raise GatewayRunningError(data_dir, pid)


def write_state(data_dir: Path, state: GatewayState) -> None:
    """Replace the state file at once, readable by its owner only. The caller holds `gateway_lock`."""
    write_private(data_dir / FILE_NAME, msgspec.json.format(msgspec.json.encode(state)) + b"\n")


def read_state(data_dir: Path) -> GatewayState | None:
    """The running gateway of this data folder; None when none runs or it is not ready yet. Raises `DiskError`."""
    if gateway_pid(data_dir) is None:
        return None
    path = data_dir / FILE_NAME
    with disk_errors(path):
        try:
            return msgspec.json.decode(path.read_bytes(), type=GatewayState)
        except (FileNotFoundError, msgspec.DecodeError):
            return None


def require_state(data_dir: Path) -> GatewayState:
    """The running gateway of this data folder; an error that says how to start one otherwise."""
    state = read_state(data_dir)
    if state is None:
        pid = gateway_pid(data_dir)
        if pid is not None:
            raise FitaError(
                f"the gateway of the data folder {data_dir} (process {pid}) is not ready yet",
                hint="wait until `fita status` says that it is",
            )
        raise FitaError(
            f"no gateway runs with the data folder {data_dir}",
            hint="start one with `fita up`, or name its folder with --data-dir",
        )
    return state


def _remove_state(data_dir: Path) -> None:
    with disk_errors(data_dir / FILE_NAME):
        (data_dir / FILE_NAME).unlink(missing_ok=True)
