"""`fita kubectl` hands everything on: a script in kubectl's place says what it was given."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from fita.app.state import GatewayState, gateway_lock, write_state

SCRIPT = """#!/bin/sh
printf '%s\\n' "KUBECONFIG=$KUBECONFIG" "$@"
"""


def state(kubectl: Path) -> GatewayState:
    return GatewayState(
        pid=os.getpid(),
        gateway_name="gw",
        coap_host="127.0.0.1",
        coap_port=5683,
        http_url="http://127.0.0.1:8683",
        open_enrolment=False,
        kubeconfig="/the/kubeconfig",
        kubectl=str(kubectl),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["exec", "deployment/average", "--", "ls", "-l"],
        ["--", "get", "pods"],
        ["--help"],
        ["get", "-v", "6", "--help", "pods", "-o=json"],
        ["-v=6", "--namespace", "a b", "get", "--version", "--", "--"],
        [],
    ],
    ids=" ".join,
)
async def test_all_arguments_are_kubectls_own(arguments: list[str], tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(SCRIPT)
    kubectl.chmod(0o755)
    data_dir = tmp_path / "data"
    async with gateway_lock(data_dir):
        write_state(data_dir, state(kubectl))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fita", "kubectl", *arguments,
            env={**os.environ, "FITA_DATA_DIR": str(data_dir)}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    assert output.decode().splitlines() == ["KUBECONFIG=/the/kubeconfig", *arguments]
