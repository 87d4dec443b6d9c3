"""Which TCP port the API server gets."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

from fita.localcluster.errors import PortForbiddenError, PortInUseError

PREFERRED = range(6443, 6463)
"""Kubernetes' own port and the next ones: below the range that the system takes for outgoing connections."""


def choose_port(address: str, *, wanted: int, last: int) -> int:
    """The port `wanted`; if that is 0, the `last` one, else a preferred one, else any, whichever is free first.

    Raises `PortInUseError` when `wanted` is taken, `PortForbiddenError` when this user may not have it.
    """
    if wanted:
        if not is_free(address, wanted):
            raise PortInUseError(address, wanted)
        return wanted
    candidates = [last, *PREFERRED] if last else PREFERRED
    for port in candidates:
        with suppress(PortForbiddenError):
            if is_free(address, port):
                return port
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert isinstance(port, int)
        return port


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now. Raises `PortForbiddenError`."""
    try:
        with socket.create_server((address, port)):
            return True
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PortForbiddenError(address, port) from error
        raise
