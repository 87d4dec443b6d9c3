"""Fleets of real runtimes: started, killed, stopped, restarted, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from simulator_gateway import RegisteringGateway

from fita.simulator.device import DeviceState
from fita.simulator.errors import DeviceExitedError, EndpointInUseError, SignalError, UnknownDeviceError
from fita.simulator.fleet import DeviceSpec, Fleet

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def gateway() -> AsyncIterator[RegisteringGateway]:
    gateway = await RegisteringGateway.bind()
    yield gateway
    gateway.close()


def specs(gateway: RegisteringGateway, folder: Path, count: int = 1) -> list[DeviceSpec]:
    return [
        DeviceSpec(
            endpoint=f"d{number}",
            gateway=gateway.address,
            folder=folder / f"d{number}",
            capabilities=("temperature_sensor",),
            seed=number,
        )
        for number in range(count)
    ]


def is_running(pid: int | None) -> bool:
    assert pid is not None
    return Path(f"/proc/{pid}").exists()


async def test_devices_register_and_say_goodbye(gateway: RegisteringGateway, tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    async with Fleet(specs(gateway, tmp_path, 3), on_line=lambda *line: lines.append(line)) as fleet:
        for device in fleet.devices.values():
            await device.registered.wait()
            assert device.state is DeviceState.REGISTERED
        pids = [device.pid for device in fleet.devices.values()]
        assert all(is_running(pid) for pid in pids)
    assert gateway.came == {"d0": 1, "d1": 1, "d2": 1}
    assert gateway.gone == 3
    assert not any(is_running(pid) for pid in pids)
    assert ("d1", "stopped") in lines
    assert all(device.state is DeviceState.STOPPED for device in fleet.devices.values())
    log = (tmp_path / "d0" / "device.log").read_text(encoding="utf-8")
    assert log.splitlines()[0] == "registered as d0 at /rd/1"


async def test_a_device_that_is_killed_says_nothing(gateway: RegisteringGateway, tmp_path: Path) -> None:
    reported: list[DeviceExitedError] = []
    async with Fleet(specs(gateway, tmp_path), on_exit=reported.append) as fleet:
        device = fleet.devices["d0"]
        await device.registered.wait()
        await fleet.kill("d0")
        assert not device.alive
        assert gateway.gone == 0
        again = await fleet.restart("d0")
        await again.registered.wait()
        assert (again.boots, gateway.came) == (2, {"d0": 2})
        await fleet.stop("d0")
        assert gateway.gone == 1
    assert reported == []


async def test_a_device_that_ends_by_itself_is_reported(gateway: RegisteringGateway, tmp_path: Path) -> None:
    reported: list[DeviceExitedError] = []
    async with Fleet(specs(gateway, tmp_path, 2), on_exit=reported.append) as fleet:
        for device in fleet.devices.values():
            await device.registered.wait()
        victim = fleet.devices["d0"]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await victim.ended.wait()
        assert victim.state is DeviceState.FAILED
        assert fleet.devices["d1"].alive
    (error,) = reported
    assert (error.endpoint, error.lines) == ("d0", ("registered as d0 at /rd/1",))
    assert "SIGKILL" in error.message
    assert str(victim.log_path) in error.hint


async def test_what_a_device_says_last_is_kept(gateway: RegisteringGateway, tmp_path: Path) -> None:
    reported: list[DeviceExitedError] = []
    async with Fleet(on_exit=reported.append) as fleet:
        (spec,) = specs(gateway, tmp_path)
        spec.folder.mkdir()
        (spec.folder / "services").write_text("no folder", encoding="utf-8")
        device = await fleet.start(spec)
        await device.ended.wait()
    assert "with status 1" in reported[0].message
    assert any("Error" in line for line in reported[0].lines)


async def test_a_long_log_is_begun_anew(gateway: RegisteringGateway, tmp_path: Path) -> None:
    for size, kept in ((100, True), (2 << 20, False)):
        folder = tmp_path / str(size)
        (spec,) = specs(gateway, folder)
        spec.folder.mkdir(parents=True)
        (spec.folder / "device.log").write_bytes(b"x" * size + b"\n")
        async with Fleet([spec]):
            pass
        assert (spec.folder / "device.log").read_bytes().startswith(b"x") is kept


async def test_a_reboot_starts_the_device_again(gateway: RegisteringGateway, tmp_path: Path) -> None:
    async with Fleet(specs(gateway, tmp_path)) as fleet:
        first = fleet.devices["d0"]
        await first.registered.wait()
        gateway.reboot("d0")
        await first.ended.wait()
        second = fleet.devices["d0"]
        assert second is not first
        await second.registered.wait()
        assert (second.boots, gateway.came["d0"]) == (2, 2)


async def test_names_and_folders_are_used_once(gateway: RegisteringGateway, tmp_path: Path) -> None:
    (spec,) = specs(gateway, tmp_path)
    async with Fleet([spec]) as fleet:
        with pytest.raises(EndpointInUseError, match="runs already"):
            await fleet.start(spec)
        other = DeviceSpec(endpoint="other", gateway=gateway.address, folder=spec.folder)
        with pytest.raises(EndpointInUseError, match="runs in"):
            await fleet.start(other)
        with pytest.raises(UnknownDeviceError):
            await fleet.kill("nobody")


async def test_a_fleet_that_cannot_start_leaves_nothing(gateway: RegisteringGateway, tmp_path: Path) -> None:
    first, _ = specs(gateway, tmp_path, 2)
    bad = DeviceSpec(endpoint="bad", gateway=gateway.address, folder=tmp_path / "bad", signal="square")
    fleet = Fleet([first, bad])
    with pytest.raises(SignalError):
        await fleet.__aenter__()
    assert not any(is_running(device.pid) for device in fleet.devices.values() if device.pid)


PARENT = """
import asyncio, sys
from pathlib import Path
from fita.simulator.fleet import DeviceSpec, Fleet

async def main():
    spec = DeviceSpec(endpoint="d0", gateway=("127.0.0.1", int(sys.argv[1])), folder=Path(sys.argv[2]))
    async with Fleet([spec]) as fleet:
        print(fleet.devices["d0"].pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_devices_end_with_who_started_them(gateway: RegisteringGateway, tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(gateway.address[1]), str(tmp_path / "d0"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    await parent.wait()
    while is_running(pid):
        await asyncio.sleep(0.02)
