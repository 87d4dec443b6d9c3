"""The gateway's LwM2M server and the real device runtime, each in its own process, over UDP on loopback."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fita.base.resource import resource_folder
from fita.coap.interfaces import Peer
from fita.lwm2m.server import Lwm2mServer
from fita.model.device import DeviceProfile, Endpoint
from fita.model.platform import Platform
from fita.model.runtime import (
    DeployError,
    DeployReason,
    OutputValue,
    ServiceDeployment,
    ServicePhase,
    ServiceStatus,
    WorkloadId,
)
from fita.model.service import Dependencies, Port, ServiceArtifact, ServiceManifest, ValueType
from fita.oci.build.compiler import compile_code
from fita.simulator.fleet import DeviceSpec, Fleet

LAMP = Endpoint("lamp1")
PLATFORM = Platform("micropython", "any", "v6")
AVERAGE = (resource_folder("demos") / "temperature" / "average" / "main.py").read_text()


class Gateway:
    """A server, and what it told."""

    def __init__(self) -> None:
        self.outputs: list[OutputValue] = []
        self.lost: list[str] = []
        self.services: list[ServiceStatus | None] = []
        self.server = Lwm2mServer(enrolled=lambda endpoint: True, on_output=self.outputs.append, listener=self)
        self.address: Peer = ("", 0)

    def device_joined(self, profile: DeviceProfile) -> None:
        pass

    def device_lost(self, endpoint: Endpoint, reason: str) -> None:
        self.lost.append(reason)

    def service_changed(self, endpoint: Endpoint, status: ServiceStatus | None) -> None:
        self.services.append(status)

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[Gateway]:
        self.address = await self.server.open("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.server.run())
                yield self
                task.cancel()
        finally:
            await self.server.close()

    async def until(self, reached: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                await asyncio.sleep(0.02)

    async def joined(self, count: int = 1) -> None:
        await self.until(lambda: len(self.server.devices()) >= count)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway().running() as gateway:
        yield gateway


def device(gateway: Gateway, folder: Path, endpoint: str = LAMP, *, lifetime_s: int = 60) -> DeviceSpec:
    return DeviceSpec(
        endpoint=endpoint,
        gateway=gateway.address,
        folder=folder / endpoint,
        capabilities=("temperature_sensor",),
        signal="constant:21.5",
        lifetime_s=lifetime_s,
    )


def order(code: str = AVERAGE, *, workload: str = "uid/main", version: int = 1, memory: int = 8192, api: int = 1,
          padding: int = 0) -> ServiceDeployment:  # fmt: skip
    """`padding` bytes that the interpreter does not read make a package large."""
    binary = compile_code(Path("main.py"), code, PLATFORM) + bytes(padding)
    return ServiceDeployment(
        workload=WorkloadId(workload),
        artifact=ServiceArtifact(
            reference=f"fita.local/average:v{version}",
            digest="sha256:" + hashlib.sha256(binary + bytes((version,))).hexdigest(),
            platform=PLATFORM,
            manifest=ServiceManifest(
                name="average",
                version=version,
                dependencies=Dependencies(api),
                outputs=(
                    Port(key="average", type=ValueType.FLOAT, data_model_mapping="lwm2m:3303/x/5700", unit="Cel"),
                ),
            ),
            binary=binary,
        ),
        environment={"INTERVAL_MS": "50"},
        memory_limit_bytes=memory,
    )


async def test_a_device_joins_runs_a_service_and_gives_its_values(gateway: Gateway, tmp_path: Path) -> None:
    async with Fleet([device(gateway, tmp_path)]):
        await gateway.joined()
        profile = gateway.server.devices()[LAMP]
        assert (profile.memory_bytes, profile.capabilities, profile.lifetime_s) == (
            131072, ("temperature_sensor",), 60,
        )  # fmt: skip
        assert profile.platform.runs(PLATFORM)
        assert 0 < profile.service_memory_bytes < profile.memory_bytes
        assert profile.storage_bytes == 262144

        status = await gateway.server.deploy(LAMP, order())
        assert (status.phase, status.workload, status.name) == (ServicePhase.RUNNING, "uid/main", "average")
        await gateway.until(lambda: gateway.outputs)
        first = gateway.outputs[0]
        assert (first.value, first.unit, first.key, first.workload) == (21.5, "Cel", "average", "uid/main")

        stats = await gateway.server.stats(LAMP)
        assert stats.memory_free_bytes is not None
        assert stats.memory_free_bytes <= profile.service_memory_bytes - 8192
        (status,) = await gateway.server.read_services(LAMP)
        assert status.memory_bytes is not None
        assert 0 < status.memory_bytes <= 8192

        await gateway.server.remove(LAMP, status.instance)
        assert gateway.server.services(LAMP) == {}
        assert await gateway.server.read_services(LAMP) == []
    assert gateway.lost == ["the device said goodbye"]


async def test_updates_replace_or_leave_what_ran(gateway: Gateway, tmp_path: Path) -> None:
    async with Fleet([device(gateway, tmp_path)]):
        await gateway.joined()
        first = await gateway.server.deploy(LAMP, order())
        second = await gateway.server.deploy(LAMP, order(version=2))
        assert (second.version, second.phase) == ("2", ServicePhase.RUNNING)
        with pytest.raises(DeployError, match="no lamp here") as caught:
            await gateway.server.deploy(
                LAMP, order("def setup(service):\n    raise OSError('no lamp here')\n", version=3)
            )
        assert caught.value.reason is DeployReason.START_FAILED
        (status,) = await gateway.server.read_services(LAMP)
        assert (status.version, status.workload) == ("2", first.workload)
        await gateway.until(lambda: gateway.server.services(LAMP)[status.instance].phase is ServicePhase.RUNNING)
        count = len(gateway.outputs)
        await gateway.until(lambda: len(gateway.outputs) > count or gateway.outputs[-1].value == 21.5)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (order("def setup(service):\n    raise ValueError('no')\n"), DeployReason.START_FAILED),
        (order("def setup(service):\n    service.sensor('humidity_sensor')\n"), DeployReason.START_FAILED),
        (order(memory=1_000_000), DeployReason.OUT_OF_MEMORY),
        (order(padding=300_000), DeployReason.OUT_OF_STORAGE),
        (order(api=9), DeployReason.UNSUPPORTED_API_VERSION),
    ],
    ids=["setup", "sensor", "memory", "storage", "api"],
)
async def test_what_does_not_work_is_named_and_leaves_nothing(
    gateway: Gateway, tmp_path: Path, wrong: ServiceDeployment, reason: DeployReason
) -> None:
    async with Fleet([device(gateway, tmp_path)]):
        await gateway.joined()
        with pytest.raises(DeployError) as caught:
            await gateway.server.deploy(LAMP, wrong)
        assert caught.value.reason is reason
        assert await gateway.server.read_services(LAMP) == []
        assert (await gateway.server.deploy(LAMP, order())).phase is ServicePhase.RUNNING


async def test_a_sixth_service_is_one_too_many(gateway: Gateway, tmp_path: Path) -> None:
    async with Fleet([device(gateway, tmp_path)]):
        await gateway.joined()
        for number in range(5):
            await gateway.server.deploy(LAMP, order(workload=f"uid{number}/main", memory=4096))
        with pytest.raises(DeployError) as caught:
            await gateway.server.deploy(LAMP, order(workload="uid5/main", memory=4096))
        assert caught.value.reason in (DeployReason.TOO_MANY_SERVICES, DeployReason.OUT_OF_MEMORY)
        assert len(await gateway.server.read_services(LAMP)) == 5


async def deploys(gateway: Gateway, ordered: ServiceDeployment) -> ServiceStatus | DeployError:
    try:
        return await gateway.server.deploy(LAMP, ordered)
    except DeployError as error:
        return error


async def test_a_device_without_power_in_the_middle_of_an_install_converges(
    gateway: Gateway, tmp_path: Path
) -> None:
    ordered = order(padding=100_000)
    async with Fleet([device(gateway, tmp_path)]) as fleet:
        await gateway.joined()
        async with asyncio.TaskGroup() as group:
            deploying = group.create_task(deploys(gateway, ordered))
            await gateway.until(lambda: gateway.server.services(LAMP))
            await fleet.kill(LAMP)
            await fleet.start(fleet.devices[LAMP].spec)
        outcome = await deploying
        assert isinstance(outcome, DeployError)
        assert (outcome.reason, outcome.retryable) == (DeployReason.DEVICE_UNREACHABLE, True)

        status = await gateway.server.deploy(LAMP, ordered)
        assert status.phase is ServicePhase.RUNNING
        assert await gateway.server.read_services(LAMP) == list(gateway.server.services(LAMP).values())
        assert list(gateway.server.services(LAMP)) == [status.instance]


async def test_a_service_runs_again_after_its_device_lost_power(gateway: Gateway, tmp_path: Path) -> None:
    async with Fleet([device(gateway, tmp_path)]) as fleet:
        await gateway.joined()
        before = await gateway.server.deploy(LAMP, order())
        await fleet.kill(LAMP)
        count = len(gateway.outputs)
        await fleet.start(fleet.devices[LAMP].spec)
        await gateway.until(lambda: len(gateway.outputs) > count)
        assert (await gateway.server.deploy(LAMP, order())).instance == before.instance
        assert gateway.outputs[-1].workload == before.workload


async def test_a_gateway_killed_in_the_middle_of_a_deployment_converges(tmp_path: Path) -> None:
    ordered = order(padding=100_000)
    async with Gateway().running() as first:
        async with Fleet([device(first, tmp_path, lifetime_s=4)]):
            await first.joined()
            await first.server.deploy(LAMP, order(workload="uid2/main"))
            async with asyncio.TaskGroup() as group:
                deploying = group.create_task(deploys(first, ordered))
                await first.until(lambda: len(first.server.services(LAMP)) == 2)
                await first.server.close()
                assert isinstance(await deploying, DeployError)
            async with Gateway().running(first.address[1]) as second:
                await second.joined()
                found = second.server.services(LAMP).values()
                assert [(service.workload, service.phase) for service in found] == [
                    ("uid2/main", ServicePhase.RUNNING)
                ]
                status = await second.server.deploy(LAMP, ordered)
                assert status.phase is ServicePhase.RUNNING
                assert len(await second.server.read_services(LAMP)) == 2
                await second.until(
                    lambda: {output.workload for output in second.outputs} == {"uid/main", "uid2/main"}
                )


async def test_many_devices_join_and_deploy_at_once(gateway: Gateway, tmp_path: Path) -> None:
    names = [Endpoint(f"lamp{number}") for number in range(20)]
    async with Fleet([device(gateway, tmp_path, name) for name in names]):
        await gateway.joined(len(names))
        ordered = order()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(gateway.server.deploy(name, ordered)) for name in names]
        assert {task.result().phase for task in tasks} == {ServicePhase.RUNNING}
        await gateway.until(lambda: {output.endpoint for output in gateway.outputs} == set(names))
