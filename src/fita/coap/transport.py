"""The plain UDP transport: one socket, drained at each wake.

It keeps no state of peers, so nothing that happens to a datagram (an ICMP error, a full buffer) touches another
peer: a datagram that cannot be sent is lost, as it may be anywhere on its way.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import deque
from collections.abc import Callable

import structlog

from fita.coap.errors import TransportError
from fita.coap.interfaces import Peer
from fita.coap.peer import MAPPED

log = structlog.get_logger(__name__)

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked of the kernel, which may give less: at its default a burst of 256 devices lost half of its datagrams."""

_DATAGRAMS_PER_WAKE = 256  # then timers and other tasks have their turn
_LARGEST_DATAGRAM = 65_535
_SO_RCVBUFFORCE = 33  # Linux; over net.core.rmem_max, for those with CAP_NET_ADMIN
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

Address = tuple[str, int] | tuple[str, int, int, int]

_HINTS = {
    errno.EADDRINUSE: "another program uses this port: stop it or choose another port",
    errno.EACCES: "ports below 1024 need a privilege: choose another port",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address",
}


class UdpTransport:
    """`Transport` over UDP. ``::`` takes IPv6 and IPv4, and only IPv4 on a machine without IPv6.

    `send_queue` bounds the datagrams that the socket does not take at once; the next is dropped as if lost.
    Answers of a wildcard socket leave from the address that the kernel's routes choose: bind one address on a
    machine that has several towards its devices.
    """

    def __init__(self, *, send_queue: int = 65_536, receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES) -> None:
        self.dropped = 0  # datagrams that could not be sent
        self._send_queue = send_queue
        self._receive_buffer_bytes = receive_buffer_bytes
        self._socket: socket.socket | None = None
        self._is_ipv6 = False
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._receive: Callable[[bytes, Peer], None]
        self._loop: asyncio.AbstractEventLoop

    async def open(self, host: str, port: int, receive: Callable[[bytes, Peer], None]) -> Peer:
        """See `Transport.open`. A host name is resolved."""
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
            family = found[0][0]
            self._socket = _bound(family, found[0][4])
        except (OSError, UnicodeError) as error:
            number = error.errno if isinstance(error, OSError) else None
            if host != "::" or number not in _NO_IPV6:
                hint = _HINTS.get(number or 0, "give an address of this machine")
                raise TransportError(f"cannot listen on {host}, UDP port {port}: {error}", hint=hint) from error
            log.info("no IPv6 on this machine")
            return await self.open("0.0.0.0", port, receive)
        self._is_ipv6 = family == socket.AF_INET6
        given = _enlarge(self._socket, self._receive_buffer_bytes)
        peer = self._peer_of(self._socket.getsockname())
        log.debug("socket opened", address=peer, receive_buffer_bytes=given)
        return peer

    async def run(self) -> None:
        """See `Transport.run`."""
        if self._socket is None:
            raise TransportError("the socket is not open", hint="call open first")
        self._loop.add_reader(self._socket.fileno(), self._drain, self._socket)
        try:
            await asyncio.Event().wait()
        finally:
            if self._socket is not None:
                self._loop.remove_reader(self._socket.fileno())

    def _drain(self, source: socket.socket) -> None:
        for _ in range(_DATAGRAMS_PER_WAKE):
            try:
                datagram, address = source.recvfrom(_LARGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error about something sent before; nobody knows which
            self._receive(datagram, self._peer_of(address) if self._is_ipv6 else address)

    def send(self, datagram: bytes, peer: Peer) -> None:
        """See `Transport.send`."""
        if self._socket is None:
            return
        address = self._address_of(peer) if self._is_ipv6 else peer
        if self._queue:
            self._enqueue(datagram, address)
            return
        try:
            self._socket.sendto(datagram, address)
        except BlockingIOError:
            self._enqueue(datagram, address)
            self._loop.add_writer(self._socket.fileno(), self._flush, self._socket)
        except (OSError, OverflowError):
            self.dropped += 1

    def _enqueue(self, datagram: bytes, address: Address) -> None:
        if len(self._queue) < self._send_queue:
            self._queue.append((datagram, address))
        else:
            self.dropped += 1

    def _flush(self, sink: socket.socket) -> None:
        while self._queue:
            datagram, address = self._queue[0]
            try:
                sink.sendto(datagram, address)
            except BlockingIOError:
                return
            except (OSError, OverflowError):
                self.dropped += 1
            self._queue.popleft()
        self._loop.remove_writer(sink.fileno())

    def close(self) -> None:
        """See `Transport.close`. Does nothing the second time."""
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self.dropped += len(self._queue)
        self._queue.clear()

    @staticmethod
    def _peer_of(address: Address) -> Peer:
        host = address[0]
        if len(address) == 4:
            if host.startswith(MAPPED):
                host = host[len(MAPPED) :]
            elif address[3]:
                host = f"{host.partition('%')[0]}%{address[3]}"
        return host, address[1]

    @staticmethod
    def _address_of(peer: Peer) -> Address:
        host, port = peer
        if ":" not in host:
            return MAPPED + host, port
        if "%" not in host:
            return peer
        host, _, scope = host.partition("%")
        return host, port, 0, int(scope)


def _bound(family: socket.AddressFamily, address: Address | tuple[int, bytes]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        opened.bind(address)
    except BaseException:
        opened.close()
        raise
    return opened


def _enlarge(opened: socket.socket, wanted_bytes: int) -> int:
    """Enlarge the receive buffer as far as the kernel allows; returns what it gave."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted_bytes)
    given = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if given < wanted_bytes and sys.platform == "linux":
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted_bytes)
        except OSError:
            return given
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
