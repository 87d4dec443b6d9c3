"""A running server with a listener that writes everything down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from lwm2m_device import FakeDevice, Radio

from fita.lwm2m.server import Lwm2mServer
from fita.model.device import DeviceProfile, Endpoint
from fita.model.platform import Platform
from fita.model.runtime import OutputValue, ServiceDeployment, ServiceStatus, WorkloadId
from fita.model.service import Dependencies, Port, ServiceArtifact, ServiceManifest, ValueType

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LAMP = Endpoint("lamp1")


class Diary:
    """A `DeviceListener`."""

    def __init__(self) -> None:
        self.joined: list[DeviceProfile] = []
        self.lost: list[tuple[Endpoint, str]] = []
        self.services: list[ServiceStatus | None] = []
        self.outputs: list[OutputValue] = []

    def device_joined(self, profile: DeviceProfile) -> None:
        self.joined.append(profile)

    def device_lost(self, endpoint: Endpoint, reason: str) -> None:
        self.lost.append((endpoint, reason))

    def service_changed(self, endpoint: Endpoint, status: ServiceStatus | None) -> None:
        self.services.append(status)


class Bench:
    def __init__(self) -> None:
        self.radio = Radio()
        self.diary = Diary()
        self.refused: set[str] = set()
        self.server = self.new_server()

    def new_server(self) -> Lwm2mServer:
        return Lwm2mServer(
            enrolled=lambda endpoint: endpoint not in self.refused,
            on_output=self.diary.outputs.append,
            listener=self.diary,
            clock=lambda: AT,
            transport=self.radio,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        await self.server.open("10.0.0.1", 5683)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.server.run())
            await asyncio.sleep(0)
            try:
                yield self
            finally:
                task.cancel()
                await self.server.close()

    async def joined(self, device: FakeDevice, **query: str) -> DeviceProfile:
        """Register a device and wait until it has been read."""
        count = len(self.diary.joined)
        await device.register(**query)
        await until(lambda: len(self.diary.joined) > count)
        return self.diary.joined[-1]


async def until(reached: Callable[[], object]) -> None:
    """Let the loop run until something is so; with virtual time this takes none."""
    step_s = 0.001
    async with asyncio.timeout(600):
        while not reached():
            await asyncio.sleep(step_s)
            step_s = min(step_s * 1.1, 0.5)


async def settle(seconds: float = 1.0) -> None:
    """Let pass what is on its way."""
    await asyncio.sleep(seconds)


def artifact(
    *, version: int = 1, platform: str = "micropython/any/v6", size: int = 3000, api: int = 1
) -> ServiceArtifact:
    binary = random.Random(version).randbytes(size)
    return ServiceArtifact(
        reference=f"fita.local/average:v{version}",
        digest=f"sha256:{version:064x}",
        platform=Platform(*platform.split("/")),
        manifest=ServiceManifest(
            name="average",
            version=version,
            dependencies=Dependencies(api),
            outputs=(Port(key="average", type=ValueType.FLOAT, unit="Cel"),),
        ),
        binary=binary,
    )


def order(workload: str = "uid/main", **options: object) -> ServiceDeployment:
    return ServiceDeployment(
        workload=WorkloadId(workload),
        artifact=artifact(**options),  # type: ignore[arg-type]
        environment={"WINDOW": "3"},
        memory_limit_bytes=8192,
    )
