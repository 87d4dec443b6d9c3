"""Devices for tests of the kubelet: they satisfy `DeviceRuntime` and behave as the device protocol says.

runtime = FakeRuntime(listener)
runtime.join(profile)                    # registers, is read, the listener hears of it
runtime.crash("lamp1", 1000, "boom")     # as a service does it by itself
runtime.devices_["lamp1"].deaf = True    # still registered, answers nothing
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from fita.model.device import DeviceProfile, DeviceStats, Endpoint
from fita.model.platform import Platform
from fita.model.runtime import (
    DeployError,
    DeployReason,
    ServiceDeployment,
    ServicePhase,
    ServiceStatus,
    WorkloadId,
)
from fita.model.service import Dependencies, ServiceArtifact, ServiceManifest
from fita.oci.errors import ArtifactNotFoundError

PLATFORM = Platform("micropython", "armv7em", "v6")
ANY = Platform("micropython", "any", "v6")
ROUND_TRIP_S = 0.02
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def profile_of(endpoint: str, **changes: object) -> DeviceProfile:
    """A device of 128 kB with a thermometer."""
    profile = DeviceProfile(
        endpoint=Endpoint(endpoint),
        address="10.0.0.7:5683",
        platform=PLATFORM,
        memory_bytes=128 * 1024,
        service_memory_bytes=64 * 1024,
        storage_bytes=256 * 1024,
        max_services=4,
        capabilities=("temperature_sensor",),
        lifetime_s=60,
        registered_at=START,
    )
    return msgspec.structs.replace(profile, **changes)


def artifact_of(image: str, **changes: object) -> ServiceArtifact:
    """A service whose digest follows from the image's name."""
    name = image.rpartition("/")[2].partition(":")[0]
    manifest = ServiceManifest(name=name, version=1, dependencies=Dependencies(1))
    artifact = ServiceArtifact(
        reference=image,
        digest="sha256:" + hashlib.sha256(image.encode()).hexdigest(),
        platform=ANY,
        manifest=manifest,
        binary=b"M" * 1000,
    )
    return msgspec.structs.replace(artifact, **changes)


class FakeArtifacts:
    """Every image of `images` exists. `errors` are raised instead, `delay_s` is how long a pull takes."""

    def __init__(self) -> None:
        self.images: dict[str, ServiceArtifact] = {}
        self.errors: dict[str, Exception] = {}
        self.pulls: list[tuple[str, str]] = []
        self.credentials: list[object] = []
        self.delay_s = 0.01

    def add(self, image: str, **changes: object) -> ServiceArtifact:
        self.images[image] = artifact_of(image, **changes)
        return self.images[image]

    async def pull(
        self, reference: str, platform: Platform, *, pull_policy: str = "IfNotPresent", credentials: object = None
    ) -> ServiceArtifact:
        self.pulls.append((reference, pull_policy))
        self.credentials.append(credentials)
        await asyncio.sleep(self.delay_s)
        if reference in self.errors:
            raise self.errors[reference]
        if reference not in self.images:
            raise ArtifactNotFoundError(reference, f"{reference} does not exist", hint="push it")
        return self.images[reference]


@dataclass
class FakeDevice:
    """One device: what is on it, and what is wrong with it."""

    profile: DeviceProfile
    online: bool = True
    deaf: bool = False
    services: dict[int, ServiceStatus] = field(default_factory=dict)
    errors: list[DeployError] = field(default_factory=list)
    deploy_s: float = 0.1
    memory_free_bytes: int | None = None
    next_instance: int = 1000
    registrations: int = 1


class FakeRuntime:
    """Several devices. `listener` is the kubelet under test; a restart of the gateway replaces it."""

    def __init__(self) -> None:
        self.listener: object | None = None
        self.all: dict[str, FakeDevice] = {}
        self.deployed: list[tuple[str, str]] = []
        self.removed: list[tuple[str, int]] = []
        self.orders: list[ServiceDeployment] = []

    # What happens to devices

    def join(self, profile: DeviceProfile) -> FakeDevice:
        """The device registers, for the first time or again."""
        device = self.all.get(profile.endpoint)
        if device is None:
            device = self.all[profile.endpoint] = FakeDevice(profile)
        else:
            device.registrations += 1
            at = START + timedelta(seconds=device.registrations)
            device.profile = msgspec.structs.replace(profile, registered_at=at)
        device.online = True
        self._tell("device_joined", device.profile)
        return device

    def lose(self, endpoint: str, reason: str = "its registration expired") -> None:
        self.all[endpoint].online = False
        self._tell("device_lost", endpoint, reason)

    def crash(self, endpoint: str, instance: int, error: str) -> None:
        self._change(endpoint, instance, phase=ServicePhase.CRASHED, error=error)

    def restart(self, endpoint: str, instance: int) -> None:
        before = self.all[endpoint].services[instance]
        self._change(endpoint, instance, phase=ServicePhase.RUNNING, restart_count=before.restart_count + 1)

    def vanish(self, endpoint: str, instance: int) -> None:
        """Somebody took the service away at the device."""
        del self.all[endpoint].services[instance]
        self._tell("service_changed", endpoint, None)

    def install_foreign(self, endpoint: str, phase: ServicePhase = ServicePhase.RUNNING) -> int:
        """Somebody else installs a service that is no pod's."""
        device = self.all[endpoint]
        instance = device.next_instance
        device.next_instance += 1
        device.services[instance] = ServiceStatus(
            workload=WorkloadId(""), instance=instance, name="foreign", version="1", digest="", phase=phase
        )
        return instance

    def service(self, endpoint: str, uid: str) -> ServiceStatus | None:
        found = [s for s in self.all[endpoint].services.values() if s.workload.startswith(uid + "/")]
        assert len(found) <= 1, "a pod has one service"
        return found[0] if found else None

    def _change(self, endpoint: str, instance: int, **changes: object) -> None:
        device = self.all[endpoint]
        status = device.services[instance] = msgspec.structs.replace(device.services[instance], **changes)
        if device.online:
            self._tell("service_changed", endpoint, status)

    def _tell(self, event: str, *arguments: object) -> None:
        if self.listener is not None:
            getattr(self.listener, event)(*arguments)

    # DeviceRuntime

    def devices(self) -> Mapping[Endpoint, DeviceProfile]:
        return {Endpoint(name): device.profile for name, device in self.all.items() if device.online}

    def services(self, endpoint: Endpoint) -> Mapping[int, ServiceStatus]:
        device = self.all.get(endpoint)
        return dict(device.services) if device is not None and device.online else {}

    async def stats(self, endpoint: Endpoint) -> DeviceStats:
        device = await self._reach(endpoint)
        return DeviceStats(memory_free_bytes=device.memory_free_bytes, storage_free_bytes=128 * 1024)

    async def deploy(self, endpoint: Endpoint, deployment: ServiceDeployment) -> ServiceStatus:
        device = await self._reach(endpoint)
        self.deployed.append((endpoint, deployment.artifact.reference))
        self.orders.append(deployment)
        await asyncio.sleep(device.deploy_s)
        await self._reach(endpoint)
        if device.errors:
            raise device.errors.pop(0)
        old = [i for i, s in device.services.items() if s.workload == deployment.workload]
        if not old and len(device.services) >= device.profile.max_services:
            raise DeployError(DeployReason.TOO_MANY_SERVICES, "the device is full", retryable=True)
        for instance in old:
            del device.services[instance]
        instance = device.next_instance
        device.next_instance += 1
        status = device.services[instance] = ServiceStatus(
            workload=deployment.workload,
            instance=instance,
            name=deployment.artifact.manifest.name,
            version=str(deployment.artifact.manifest.version),
            digest=deployment.artifact.digest,
            phase=ServicePhase.RUNNING,
            uptime_s=0,
        )
        self._tell("service_changed", endpoint, status)
        return status

    async def remove(self, endpoint: Endpoint, instance: int) -> None:
        device = await self._reach(endpoint)
        if device.services.pop(instance, None) is not None:
            self.removed.append((endpoint, instance))
            self._tell("service_changed", endpoint, None)

    async def _reach(self, endpoint: Endpoint) -> FakeDevice:
        device = self.all.get(endpoint)
        if device is None or not device.online:
            raise DeployError(DeployReason.DEVICE_UNREACHABLE, "the device is not registered", retryable=True)
        await asyncio.sleep(ROUND_TRIP_S)
        if device.deaf:
            await asyncio.sleep(90)
            raise DeployError(DeployReason.DEVICE_UNREACHABLE, "the device does not answer", retryable=True)
        if not device.online:
            raise DeployError(DeployReason.DEVICE_UNREACHABLE, "the device went away", retryable=True)
        return device
