"""The network between the devices as a planner sees it.

Presets: Wi-Fi and ESP-NOW as measured between ESP32 boards by others (13 ms median on Wi-Fi; MobileNetV2 over two
boards in 5.8 s by UDP and 3.6 s by ESP-NOW, arXiv 2507.16594), IEEE 802.15.4 at 20 kB/s of what is left of
250 kbit/s under 6LoWPAN, 100 Mbit/s Ethernet through a switch.
"""

from __future__ import annotations

from dataclasses import dataclass

from fita.base.errors import ConfigurationError

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One network for all devices.

    `latency_s` passes between the last byte's leaving and its being there, without occupying anything. A lost
    packet is sent again, so `loss` (0..1) takes its share of both. On a `shared` medium one device sends at a
    time; otherwise each receiver has a port of its own. `nj_per_byte` is what sender and receiver need together.
    A message occupies the medium with `message_s` besides its bytes, and telling a segment to run with `order_s`.
    """

    name: str
    bandwidth_bytes_per_s: float
    latency_s: float
    loss: float = 0.0
    shared: bool = True
    nj_per_byte: float = 0.0
    message_s: float = 0.0
    order_s: float = 0.0

    def air_ns(self, size_bytes: int, messages: int = 1, orders: int = 0) -> int:
        """How long so many bytes in so many messages occupy the medium; no bytes are no message."""
        if not size_bytes:
            return 0
        taken_s = size_bytes / self.bandwidth_bytes_per_s + messages * self.message_s + orders * self.order_s
        return round(taken_s * _NS / (1.0 - self.loss))

    @property
    def latency_ns(self) -> int:
        return round(self.latency_s * _NS / (1.0 - self.loss))


WIFI = Link(name="wifi", bandwidth_bytes_per_s=1_000_000, latency_s=0.013, loss=0.01, nj_per_byte=600)
ESPNOW = Link(name="espnow", bandwidth_bytes_per_s=60_000, latency_s=0.003, loss=0.01, nj_per_byte=4000)
IEEE_802_15_4 = Link(name="802.15.4", bandwidth_bytes_per_s=20_000, latency_s=0.005, loss=0.01, nj_per_byte=4500)
ETHERNET = Link(name="ethernet", bandwidth_bytes_per_s=11_000_000, latency_s=0.0003, shared=False, nj_per_byte=60)
LINKS = {link.name: link for link in (WIFI, ESPNOW, IEEE_802_15_4, ETHERNET)}


def link_named(name: str) -> Link:
    """A preset; `ConfigurationError` when there is none of this name."""
    if name not in LINKS:
        raise ConfigurationError(f"no link is called {name!r}", hint=f"use one of {', '.join(LINKS)}")
    return LINKS[name]
