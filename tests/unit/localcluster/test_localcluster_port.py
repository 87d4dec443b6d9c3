"""Ports: the wanted one or an error, else the last one, else a free one."""

from __future__ import annotations

import socket

import pytest

from fita.localcluster.errors import PortInUseError
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
