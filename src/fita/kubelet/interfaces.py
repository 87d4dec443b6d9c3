"""What the kubelet asks of a device protocol. No behaviour.

`fita.lwm2m` satisfies `DeviceRuntime`; `fita.app` joins the two. Nothing here blocks longer than its caller's
deadline, and everything that reaches a device may fail with `DeployError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fita.model.device import DeviceProfile, DeviceStats, Endpoint
from fita.model.runtime import ServiceDeployment, ServiceStatus


class DeviceRuntime(Protocol):
    """The devices of this gateway and the services on them, in words of no protocol."""

    def devices(self) -> Mapping[Endpoint, DeviceProfile]:
        """Every device whose registration is alive."""
        ...

    def services(self, endpoint: Endpoint) -> Mapping[int, ServiceStatus]:
        """The last known services of a device by instance; empty for an unknown device. Asks nobody."""
        ...

    async def deploy(self, endpoint: Endpoint, deployment: ServiceDeployment) -> ServiceStatus:
        """Install and start a service and return its status as read back from the device.

        A service of the same workload with another digest is replaced: the old one is kept until the new one
        runs, where the device has room for both. One that is there already with the same digest is only started.
        Returns once the phase is `running`, or raises `DeployError`; then nothing of the new service stays behind.
        """
        ...

    async def remove(self, endpoint: Endpoint, instance: int) -> None:
        """Stop and delete a service. Done when it is gone; no error when it was gone. Raises `DeployError`."""
        ...

    async def stats(self, endpoint: Endpoint) -> DeviceStats:
        """What the device uses now. Raises `DeployError`."""
        ...
