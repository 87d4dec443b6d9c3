"""What is told at the start can be typed as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from fita.app.state import GatewayState
from fita.cli.announce import announce

STATE = GatewayState(
    pid=1, gateway_name="gw", coap_host="::", coap_port=5683, http_url="http://[::1]:8683", open_enrolment=False,
    kubeconfig="/data/admin.kubeconfig", kubernetes_version="v1.36.3", kubectl="/cache/kubectl",
)  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], data_dir: Path) -> str:
    announce(STATE, data_dir)
    return capsys.readouterr().out


def test_another_data_folder_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FITA_DATA_DIR", "/usual")
    assert "  FITA_DATA_DIR='/my data' fita kubectl get nodes" in told(capsys, Path("/my data"))
    assert "  FITA_DATA_DIR=/data fita kubectl get nodes" in told(capsys, Path("/data"))
    assert "Next            fita kubectl get nodes" in told(capsys, Path("/usual"))


def test_addresses_are_written_as_in_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    assert "coap://[::1]:5683" in told(capsys, Path("/data"))
