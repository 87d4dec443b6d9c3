"""One gateway to a data folder; what it left behind when it was killed is believed by nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from fita.app.gateway import run_gateway
from fita.app.settings import GatewaySettings
from fita.app.state import (
    FILE_NAME,
    GatewayRunningError,
    GatewayState,
    authority,
    gateway_lock,
    gateway_pid,
    read_state,
    require_state,
    write_state,
)
from fita.app.status import read_status, stop
from fita.app.up import run_up
from fita.base.disk import DiskError
from fita.base.errors import FitaError

STATE = GatewayState(
    pid=os.getpid(), gateway_name="gw", coap_host="0.0.0.0", coap_port=5683, http_url="http://127.0.0.1:1",
    open_enrolment=False,
)  # fmt: skip
HOLD = """
import asyncio, os, signal, sys
from pathlib import Path
from fita.app.state import GatewayState, gateway_lock, write_state
from fita.app.interrupt import until_interrupted
async def hold():
    async with gateway_lock(Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(until_interrupted(hold()))
"""


async def test_down_ends_nobody_who_does_not_hold_the_folder(tmp_path: Path) -> None:
    foreign = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        left = msgspec.structs.replace(STATE, pid=foreign.pid)
        write_state(tmp_path, left)
        assert read_state(tmp_path) is None
        assert await stop(tmp_path, timeout_s=1) == ""
        async with gateway_lock(tmp_path):
            assert read_state(tmp_path) is None, "the one that starts now is not where the last one was"
        assert foreign.returncode is None
    finally:
        foreign.send_signal(signal.SIGKILL)
        await foreign.wait()


async def test_down_ends_the_holder_even_while_it_starts(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"held\n"
        assert f"starting or stopping (process {process.pid})" in (await read_status(tmp_path)).reason
        with pytest.raises(FitaError, match=f"process {process.pid}. is not ready yet"):
            require_state(tmp_path)
        assert await stop(tmp_path, timeout_s=10) == f"gateway (process {process.pid})"
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_second_gateway_is_refused_and_the_first_keeps_its_file(tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path, kubeconfig=tmp_path / "none", coap_port=0, http_port=0)
    async with gateway_lock(tmp_path):
        write_state(tmp_path, STATE)
        for second in (run_gateway, run_up):
            with pytest.raises(GatewayRunningError, match=f"process {os.getpid()} already runs") as caught:
                await second(settings)
            assert "fita down" in caught.value.hint
        assert read_state(tmp_path) == STATE
    assert gateway_pid(tmp_path) is None
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"", b'{"pid": 1', b'{"pid": "many"}'])
async def test_a_damaged_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert read_state(tmp_path) is None
    assert await stop(tmp_path, timeout_s=1) == ""
    async with gateway_lock(tmp_path):
        (tmp_path / FILE_NAME).write_bytes(content)
        assert read_state(tmp_path) is None


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        assert read_state(data_dir) is None
        with pytest.raises(DiskError, match=str(data_dir)):
            await run_gateway(GatewaySettings(data_dir=data_dir))


def test_addresses_of_both_kinds() -> None:
    assert STATE.coap_address == ("127.0.0.1", 5683)
    assert msgspec.structs.replace(STATE, coap_host="::").coap_address == ("::1", 5683)
    assert msgspec.structs.replace(STATE, coap_host="10.0.0.1").coap_address == ("10.0.0.1", 5683)
    assert authority("::1", 80) == "[::1]:80"
    assert authority("localhost", 80) == "localhost:80"
