"""What the kubelet remembers of each device: whether it is there, under which node, and who works on it now.

A device is expected after a restart of the gateway: its node was Ready and its registration may still be alive,
only nobody here has heard of it yet. Nothing is said about its pods until it is known again or has been lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from fita.kubelet.node import ip_of
from fita.kubelet.pod.index import PodKey
from fita.model.device import DeviceProfile, Endpoint


class Presence(StrEnum):
    """Whether a device is there."""

    EXPECTED = "expected"
    ONLINE = "online"
    LOST = "lost"


@dataclass(slots=True)
class Device:
    """One device.

    `lost_because` is for people. `registrations` counts how often it came, `revision` also how often its profile
    changed since: what it did not take before it may take now. `worker` is the pod that is being deployed on it;
    `waiting` are those whose turn comes after it, in order.
    """

    endpoint: Endpoint
    node: str
    profile: DeviceProfile | None = None
    presence: Presence = Presence.EXPECTED
    lost_because: str = ""
    expected_until: float = 0.0
    joined_at: float = 0.0
    registrations: int = 0
    revision: int = 0
    worker: PodKey | None = None
    waiting: dict[PodKey, None] = field(default_factory=dict)

    @property
    def online(self) -> bool:
        """Whether the device is registered and has been read, its services included."""
        return self.presence is Presence.ONLINE and self.profile is not None

    @property
    def address_ip(self) -> str:
        return ip_of(self.profile.address) if self.profile else ""

    def occupy(self, key: PodKey) -> bool:
        """Take the device for a deployment; False when another pod has it, then `key` waits for its turn."""
        if self.worker is not None and self.worker != key:
            self.waiting[key] = None
            return False
        self.worker = key
        self.waiting.pop(key, None)
        return True

    def release(self, key: PodKey) -> list[PodKey]:
        """Give the device free; returns who has been waiting for it."""
        if self.worker == key:
            self.worker = None
        waiting = list(self.waiting)
        self.waiting.clear()
        return waiting


class DeviceTable:
    """All devices of this gateway by endpoint and by node."""

    def __init__(self) -> None:
        self._by_endpoint: dict[Endpoint, Device] = {}
        self._by_node: dict[str, Device] = {}

    def __iter__(self) -> Iterator[Device]:
        return iter(self._by_endpoint.values())

    def get(self, endpoint: Endpoint) -> Device | None:
        return self._by_endpoint.get(endpoint)

    def of_node(self, node: str) -> Device | None:
        return self._by_node.get(node)

    def join(self, profile: DeviceProfile, *, node: str) -> Device | None:
        """Note a registration or a changed profile; None when another device has this node's name."""
        device = self._entry(profile.endpoint, node)
        if device is None:
            return None
        before = device.profile
        if not device.online or before is None or before.registered_at != profile.registered_at:
            device.registrations += 1
            device.joined_at = asyncio.get_running_loop().time()
        device.revision += not device.online or profile != before
        device.profile = profile
        device.presence = Presence.ONLINE
        device.lost_because = ""
        return device

    def expect(self, endpoint: Endpoint, *, node: str) -> Device | None:
        """Note a device that only its node tells of; None when another device has this node's name."""
        return self._entry(endpoint, node)

    def lose(self, endpoint: Endpoint, reason: str) -> Device | None:
        """Note that a device is gone; None when it was not known."""
        device = self._by_endpoint.get(endpoint)
        if device is not None:
            device.presence = Presence.LOST
            device.lost_because = reason
        return device

    def forget(self, device: Device) -> None:
        """Drop a device whose node is gone and that is not there itself."""
        self._by_endpoint.pop(device.endpoint, None)
        self._by_node.pop(device.node, None)

    def _entry(self, endpoint: Endpoint, node: str) -> Device | None:
        owner = self._by_node.get(node)
        if owner is None:
            owner = self._by_node[node] = self._by_endpoint[endpoint] = Device(endpoint, node)
        return owner if owner.endpoint == endpoint else None
