"""A gateway and a local Kubernetes of a demonstration's own, started and stopped by the CLI as a user would."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fita.app.state import GatewayState, require_state
from fita.demo.errors import DemoError
from fita.demo.stage import in_time

GATEWAY_NAME = "demo"
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 40.0
SESSION_DEADLINE_S = START_DEADLINE_S + STOP_DEADLINE_S + 10.0
"""One that does not start is stopped, and has more to say about it than that it is late."""


@asynccontextmanager
async def gateway_session() -> AsyncIterator[tuple[Path, GatewayState]]:
    """``fita up --detach`` in a new data folder, ``fita down`` and no folder left at the end.

    Ports are free ones on loopback, so that it disturbs no other gateway of this machine.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="fita-demo-"))
    try:
        async with in_time("fita up", START_DEADLINE_S):
            await run_cli(
                "up", "--detach", "--data-dir", str(data_dir), "--name", GATEWAY_NAME, "--open-enrolment",
                "--coap-host", "127.0.0.1", "--coap-port", "0", "--http-port", "0",
            )  # fmt: skip
        yield data_dir, require_state(data_dir)
    finally:
        async with in_time("fita down", STOP_DEADLINE_S):
            await run_cli("down", "--data-dir", str(data_dir))
        shutil.rmtree(data_dir, ignore_errors=True)


async def run_cli(*arguments: str) -> str:
    """What ``fita ARGUMENTS`` prints. Raises `DemoError` with its message. The caller owns the deadline."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fita", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DemoError(f"fita {arguments[0]} failed: {err.decode().strip()}")
    return out.decode()
