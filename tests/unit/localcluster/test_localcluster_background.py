"""The process behind ``fita up --detach``, without a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fita.app.detached import Order, Report, launch
from fita.app.settings import GatewaySettings
from fita.base.errors import FitaError


def test_order_survives_the_command_line() -> None:
    settings = GatewaySettings(data_dir=Path("/data"), kubeconfig=Path("/kube config"), gateway_name="gw")
    order = Order(settings=settings, api_port=7443, report_fd=5)
    assert Order.decode(order.encode()) == order


def run_background(data_dir: Path, report_fd: int) -> str:
    """Start the process and wait until the one that splits off has ended too; what it logged."""
    kubeconfig = data_dir / "missing.kubeconfig"
    settings = GatewaySettings(data_dir=data_dir, kubeconfig=kubeconfig, coap_port=0, http_port=0)
    order = Order(settings=settings, report_fd=report_fd)
    result = subprocess.run(
        [sys.executable, "-m", "fita.app.background", order.encode()],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=(report_fd,), timeout=60,
    )  # fmt: skip
    return result.stdout  # complete only when everyone who has the pipe has ended


def test_it_ends_when_the_starter_has_gone(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    try:
        assert "the start was given up" in run_background(tmp_path, write_fd)
    finally:
        os.close(write_fd)


def test_it_reports_its_number_and_why_it_ends(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    try:
        log = run_background(tmp_path, write_fd)
    finally:
        os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        first, second = (msgspec.json.decode(line, type=Report) for line in pipe.read().splitlines())
    assert first == Report(pid=first.pid)
    assert second.pid == first.pid
    assert "missing.kubeconfig" in second.error
    assert second.hint
    assert second.error in log


async def test_launch_tells_why_it_failed(tmp_path: Path) -> None:
    settings = GatewaySettings(
        data_dir=tmp_path, kubeconfig=tmp_path / "missing.kubeconfig", coap_port=0, http_port=0
    )
    with pytest.raises(FitaError, match=r"missing\.kubeconfig") as caught:
        await launch(settings, api_port=0)
    assert caught.value.hint


async def test_launch_tells_when_it_does_not_even_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No module named fita' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(FitaError, match="the background process ended: No module named fita"):
        await launch(GatewaySettings(data_dir=tmp_path / "data"), api_port=0)
