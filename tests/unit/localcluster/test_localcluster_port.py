"""Ports: the wanted one or an error, else the last one, else a free one."""

from __future__ import annotations

import errno
import socket

import pytest

from fita.localcluster.errors import PortForbiddenError, PortInUseError
from fita.localcluster.port import choose_port, is_free

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> socket.socket:
    with socket.create_server((HOST, 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    port = server.getsockname()[1]
    assert isinstance(port, int)
    return port


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return port_of(server)


def test_wanted_port_in_use_is_named(taken: socket.socket) -> None:
    port = port_of(taken)
    with pytest.raises(PortInUseError, match=f"port {port} on {HOST} is in use by another program"):
        choose_port(HOST, wanted=port, last=0)


def test_wanted_port_wins_over_the_last() -> None:
    wanted = free_port()
    assert choose_port(HOST, wanted=wanted, last=free_port()) == wanted


def test_last_port_is_used_again() -> None:
    last = free_port()
    assert choose_port(HOST, wanted=0, last=last) == last


def test_another_is_found_when_the_last_is_taken(taken: socket.socket) -> None:
    port = choose_port(HOST, wanted=0, last=port_of(taken))
    assert port != port_of(taken)
    assert is_free(HOST, port)


class Forbidding:
    """A system that lets nobody listen on the ports named: root, who runs the tests, may listen on all."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports
        self._create = socket.create_server

    def __call__(self, address: tuple[str, int]) -> socket.socket:
        if address[1] in self._ports:
            raise PermissionError(errno.EACCES, "Permission denied")
        return self._create(address)


def test_a_port_that_is_forbidden_is_not_called_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_server", Forbidding(443))
    with pytest.raises(PortForbiddenError, match=f"may not listen on port 443 of {HOST}") as caught:
        choose_port(HOST, wanted=443, last=0)
    assert "--api-port" in caught.value.hint
    assert choose_port(HOST, wanted=0, last=443) != 443
