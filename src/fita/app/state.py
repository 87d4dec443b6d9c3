"""The file in the data folder that says where the running gateway is.

Written when the gateway is ready, removed when it stops; a file whose process is gone is ignored.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from fita.base.errors import FitaError

FILE_NAME = "gateway.json"


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
        return ("127.0.0.1" if self.coap_host == "0.0.0.0" else self.coap_host, self.coap_port)


def write_state(data_dir: Path, state: GatewayState) -> None:
    """Replace the state file at once, readable by its owner only."""
    path = data_dir / FILE_NAME
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    temporary.chmod(0o600)
    temporary.replace(path)


def read_state(data_dir: Path) -> GatewayState | None:
    """The running gateway of this data folder; None when none runs."""
    try:
        state = msgspec.json.decode((data_dir / FILE_NAME).read_bytes(), type=GatewayState)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise FitaError(
            f"{data_dir / FILE_NAME} is damaged: {error}", hint="stop the gateway and remove the file"
        ) from error
    return state if _alive(state.pid) else None


def require_state(data_dir: Path) -> GatewayState:
    """The running gateway of this data folder; an error that says how to start one otherwise."""
    state = read_state(data_dir)
    if state is None:
        raise FitaError(
            f"no gateway runs with the data folder {data_dir}",
            hint="start one with `fita up`, or name its folder with --data-dir",
        )
    return state


def remove_state(data_dir: Path) -> None:
    """Remove the state file if it is this process's own."""
    path = data_dir / FILE_NAME
    try:
        state = msgspec.json.decode(path.read_bytes(), type=GatewayState)
    except (FileNotFoundError, msgspec.DecodeError):
        return
    if state.pid == os.getpid():
        path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
