"""`fita up`, `status` and `down` as a user types them: cluster and gateway together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fita.localcluster.folder import running_state

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FITA = str(Path(sys.executable).with_name("fita"))
DEADLINE_S = 120
MEMORY_BYTES = 450e6


def fita(command: str, data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FITA, command, "--data-dir", str(data_dir), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def up_arguments(*more: str) -> list[str]:
    return ["--coap-host=127.0.0.1", "--coap-port=0", "--http-port=0", *more]


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    assert fita("down", tmp_path / "data").returncode == 0


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def test_up_in_the_background(data_dir: Path) -> None:
    started = fita("up", data_dir, *up_arguments("--detach"))
    assert started.returncode == 0, started.stderr
    assert "Kubernetes v1.36.3" in started.stdout

    status = json.loads(fita("status", data_dir, "--json").stdout)
    assert status["healthy"]
    assert status["gateway"]["kubernetes_version"] == "v1.36.3"

    cluster = running_state(data_dir)
    assert cluster is not None
    assert cluster.control_plane_pid is not None
    assert cluster.pid == status["gateway"]["pid"]
    assert resident_bytes(cluster.pid) + resident_bytes(cluster.control_plane_pid) < MEMORY_BYTES

    devices = subprocess.run(
        [FITA, "kubectl", "get", "devices"],
        check=False, capture_output=True, text=True, env={**os.environ, "FITA_DATA_DIR": str(data_dir)},
    )  # fmt: skip
    assert devices.stderr == "No resources found\n"

    again = fita("up", data_dir, *up_arguments())
    assert again.returncode == 1
    assert f"process {cluster.pid} already runs a gateway on {data_dir}" in again.stderr

    assert (
        fita("down", data_dir).stdout
        == f"stopped gateway {status['gateway']['gateway_name']} (process {cluster.pid})\n"
    )
    assert running_state(data_dir) is None
    assert not Path(f"/proc/{cluster.control_plane_pid}").exists()
    assert fita("status", data_dir).returncode == 1
    assert "gateway ready" in (data_dir / "gateway.log").read_text()


def test_up_in_the_foreground_ends_at_an_interrupt(data_dir: Path) -> None:
    process = subprocess.Popen(
        [FITA, "up", "--data-dir", str(data_dir), *up_arguments()],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("Kubernetes v1.36.3")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in output
    assert running_state(data_dir) is None


def test_why_the_background_process_does_not_start_is_told(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for mode in (["--detach"], []):
            result = fita("up", data_dir, *up_arguments(f"--api-port={port}", *mode))
            assert result.returncode == 1
            assert f"error: port {port} on 127.0.0.1 is in use by another program" in result.stderr
            assert "hint: " in result.stderr
    assert running_state(data_dir) is None


def test_an_interrupted_start_in_the_background_leaves_nothing(data_dir: Path) -> None:
    process = subprocess.Popen([FITA, "up", "--data-dir", str(data_dir), "--detach", *up_arguments()])
    try:
        while running_state(data_dir) is None:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=DEADLINE_S) == 130
    finally:
        process.kill()
        process.wait()
    assert running_state(data_dir) is None
