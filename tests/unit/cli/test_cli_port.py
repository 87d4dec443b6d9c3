"""Ports and addresses that cannot be are refused as wrong usage, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fita.base.errors import ConfigurationError
from fita.cli.device.simulate import gateway_address
from fita.cli.main import app


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("gateway", "--coap-port"),
        ("gateway", "--http-port"),
        ("up", "--coap-port"),
        ("up", "--http-port"),
        ("up", "--api-port"),
    ],
)
@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, command: str, option: str, port: str) -> None:
    missing = f"--kubeconfig={tmp_path / 'none'}"  # so that nothing starts where the port is taken
    result = CliRunner().invoke(app, [command, f"{option}={port}", f"--data-dir={tmp_path / 'data'}", missing])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost", ("localhost", 5683)),
        ("10.0.0.1:7", ("10.0.0.1", 7)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1]", ("fe80::1", 5683)),
    ],
)
def test_addresses_of_gateways(text: str, address: tuple[str, int]) -> None:
    assert gateway_address(text, None) == address


@pytest.mark.parametrize("text", ["localhost:99999", "localhost:0", "h:x", ":5683", "::1", "[::1", "a:1:2"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of a gateway"):
        gateway_address(text, None)
