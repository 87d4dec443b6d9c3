"""Whom the LwM2M server tells of devices. No behaviour.

`fita.kubelet` is such a listener; `fita.app` joins the two.
"""

from __future__ import annotations

from typing import Protocol

from fita.model.device import DeviceProfile, Endpoint
from fita.model.runtime import ServiceStatus


class DeviceListener(Protocol):
    """Hears of devices in the receive loop: the calls must be quick and must not raise."""

    def device_joined(self, profile: DeviceProfile) -> None:
        """The device has registered (again) and has been read. Also called when its profile has changed."""
        ...

    def device_lost(self, endpoint: Endpoint, reason: str) -> None:
        """The device's registration ended: it expired or the device said goodbye. `reason` is for people."""
        ...

    def service_changed(self, endpoint: Endpoint, status: ServiceStatus | None) -> None:
        """A service's status as observed; None: look at `DeviceRuntime.services` again."""
        ...
