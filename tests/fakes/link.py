"""A link between devices and a gateway that a test can cut, mend and make lossy: a relay of UDP datagrams."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import suppress
from typing import Self

Address = tuple[str, int]
_DATAGRAM_BYTES = 65535


class Link:
    """Relays between devices, which register at `address`, and the gateway at `gateway`. Use ``async with``."""

    def __init__(self, gateway: Address, *, loss: float = 0.0, seed: int = 1) -> None:
        self.gateway = gateway
        self.loss = loss
        self.is_cut = asyncio.Event()
        self._rng = random.Random(seed)
        self._near = _bound_socket()
        self._far: dict[Address, socket.socket] = {}
        self._down_bytes = 0
        self._cut_at: int | None = None

    @property
    def address(self) -> Address:
        host, port = self._near.getsockname()
        return host, port

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._near, self._pass_up)
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for each in (self._near, *self._far.values()):
            loop.remove_reader(each)
            each.close()

    def cut(self) -> None:
        """Drop everything from now on, in both directions."""
        self._cut_at = None
        self.is_cut.set()

    def cut_after(self, down_bytes: int) -> None:
        """Cut when so many bytes more have gone to devices; `is_cut` tells when."""
        self._cut_at = self._down_bytes + down_bytes

    def mend(self) -> None:
        """Carry datagrams again."""
        self.is_cut.clear()

    def _pass_up(self) -> None:
        with suppress(BlockingIOError):
            while True:
                data, device = self._near.recvfrom(_DATAGRAM_BYTES)
                if not self._drops():
                    self._towards_gateway(device).sendto(data, self.gateway)

    def _pass_down(self, device: Address) -> None:
        with suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                data = self._far[device].recv(_DATAGRAM_BYTES)
                if self._drops():
                    continue
                self._near.sendto(data, device)
                self._down_bytes += len(data)
                if self._cut_at is not None and self._down_bytes >= self._cut_at:
                    self.cut()

    def _towards_gateway(self, device: Address) -> socket.socket:
        if device not in self._far:
            self._far[device] = _bound_socket()
            asyncio.get_running_loop().add_reader(self._far[device], self._pass_down, device)
        return self._far[device]

    def _drops(self) -> bool:
        return self.is_cut.is_set() or self._rng.random() < self.loss


def _bound_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind(("127.0.0.1", 0))
    return made
