"""Registries without TLS: named to the gateway, used by what pulls."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fita.app.detached import Order
from fita.app.gateway import run_gateway
from fita.app.settings import GatewaySettings
from fita.base.errors import ConfigurationError
from fita.cli.main import app
from fita.oci.puller import ArtifactSource

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


async def test_the_gateway_pulls_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    create = ArtifactSource.__init__

    def note(source: ArtifactSource, **options: object) -> None:
        given.append(options["plain_http"])
        create(source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ArtifactSource, "__init__", note)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    settings = GatewaySettings(
        data_dir=tmp_path, kubeconfig=tmp_path / "kubeconfig", plain_http=("Pi.lan:5000", "10.0.0.2:5000")
    )
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):  # no Kubernetes is there
        async with asyncio.timeout(20):
            await run_gateway(settings)
    assert given == [frozenset({"pi.lan:5000", "10.0.0.2:5000"})]


def test_they_reach_the_background_process() -> None:
    order = Order(settings=GatewaySettings(data_dir=Path("/d"), plain_http=("pi.lan:5000",)), report_fd=3)
    assert Order.decode(order.encode()) == order


@pytest.mark.parametrize("text", ["http://pi.lan:5000", "pi.lan:5000/fita", "lan", "", "pi lan:5000"])
def test_what_no_image_can_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no registry"):
        GatewaySettings(data_dir=Path("/d"), plain_http=(text,))


@pytest.mark.parametrize("command", ["up", "gateway"])
def test_both_commands_take_several(tmp_path: Path, command: str) -> None:
    options = ["--plain-http=pi.lan:5000", "--plain-http=http://no"]
    result = CliRunner().invoke(
        app, [command, f"--data-dir={tmp_path}", f"--kubeconfig={tmp_path / 'k'}", *options]
    )
    assert isinstance(result.exception, ConfigurationError)
    assert "'http://no' is no registry" in result.exception.message
