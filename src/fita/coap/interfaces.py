"""What this package promises to the layers above, and what it asks of a transport. No behaviour but defaults.

Above stands whoever serves requests (`RequestHandler`) and sends them (`request` and `observe` of
`fita.coap.endpoint.CoapEndpoint`). They see requests and responses only: message ids, tokens, retransmission,
deduplication and blocks stay below. Below stands a `Transport` that carries datagrams and may lose, double and
reorder them.

Not offered: multicast, proxying, serving observations (the gateway observes devices, devices do not observe it),
non-confirmable requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from fita.coap.code import Code
from fita.coap.errors import ResponseError

Peer = tuple[str, int]
"""Numeric host and UDP port. IPv6 link-local hosts carry their scope (``fe80::1%2``)."""

Option = tuple[int, bytes]
"""Option number and value as on the wire (RFC 7252 section 3.1)."""


class TransmissionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 7252 section 4.8, with its names and defaults."""

    ack_timeout_s: float = 2.0
    ack_random_factor: float = 1.5
    max_retransmit: int = 4
    nstart: int = 1  # confirmable messages of ours that may await their ACK at one peer (section 4.7)
    max_latency_s: float = 100.0
    processing_delay_s: float = 2.0

    @property
    def max_transmit_span_s(self) -> float:
        """From the first to the last transmission of a message: 45 s."""
        return self.ack_timeout_s * float(2**self.max_retransmit - 1) * self.ack_random_factor

    @property
    def max_transmit_wait_s(self) -> float:
        """From the first transmission to giving up: 93 s."""
        return self.ack_timeout_s * float(2 ** (self.max_retransmit + 1) - 1) * self.ack_random_factor

    @property
    def exchange_lifetime_s(self) -> float:
        """How long a message id stays in use: 247 s."""
        return self.max_transmit_span_s + 2 * self.max_latency_s + self.processing_delay_s


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the endpoint's memory and time. What happens at each bound is said beside it."""

    waiting_per_peer: int = 64  # requests behind NSTART; the next one raises PeerBusyError
    handlers: int = 1024  # asynchronous handlers at work; the next request is answered 5.03 with Max-Age 5
    handler_s: float = 60.0  # an asynchronous handler that takes longer is cancelled and answered 5.03
    remembered_messages: int = 131_072  # for deduplication; the oldest are forgotten early
    body_bytes: int = 1_048_576  # of one reassembled body; answered 4.13, or BlockwiseError as client
    transfers: int = 1024  # blockwise bodies kept for peers, in each direction; the oldest is dropped
    transfer_bytes: int = 16_777_216  # of all kept bodies together, in each direction; the oldest is dropped
    send_queue: int = 65_536  # datagrams the socket does not take; the next is dropped as if lost


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request without its message layer.

    `path` and `query` are unescaped segments. `content_format` and `accept` are IANA numbers (0 is text/plain).
    `observe` is 0 to register, 1 to deregister (use `CoapEndpoint.observe`). `options` are all others, unread.
    """

    method: Code
    path: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    content_format: int | None = None
    accept: int | None = None
    payload: bytes = b""
    observe: int | None = None
    options: tuple[Option, ...] = ()

    @property
    def path_text(self) -> str:
        """``/3/0`` for people and logs."""
        return "/" + "/".join(self.path)


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response without its message layer. `observe` is the notification's number, None if it is none."""

    code: Code
    payload: bytes = b""
    content_format: int | None = None
    location_path: tuple[str, ...] = ()
    location_query: tuple[str, ...] = ()
    etag: bytes | None = None
    max_age_s: int | None = None
    observe: int | None = None
    options: tuple[Option, ...] = ()

    @property
    def diagnostic(self) -> str:
        """The diagnostic payload of an error as text; bytes that are no UTF-8 are replaced."""
        return self.payload.decode("utf-8", "replace") if self.content_format is None else ""

    def checked(self) -> Response:
        """Itself when the code is a success (2.xx), else `ResponseError`."""
        if self.code.is_success:
            return self
        raise ResponseError(self.code, self.diagnostic)


class RequestHandler(Protocol):
    """Serves the requests of all peers."""

    def handle(self, request: Request, peer: Peer) -> Response | Awaitable[Response]:
        """Answer `request`.

        Plain `def` that returns a `Response` is the fast path: answered within the same wake of the socket, so it
        must not block. `async def` gets a task of its own, an acknowledgement when it takes longer than half of
        ACK_TIMEOUT, and a deadline (`Limits.handler_s`). A duplicate never reaches the handler; bodies are whole.
        A raised `ResponseError` becomes that response, anything else 5.00 and an ERROR in the log.
        """
        ...


OnNotification = Callable[[Response], None]
"""Called with every representation of an observation, the first included, in order, each once.

It is called in the receive loop and must be quick. An error code, or `observe` None, means that the peer ended the
observation.
"""


class Transport(Protocol):
    """Carries datagrams. `fita.coap.transport.UdpTransport` is the plain one."""

    async def open(self, host: str, port: int, receive: Callable[[bytes, Peer], None]) -> Peer:
        """Bind and return the address in use (port 0 takes a free one). Raises `TransportError`."""
        ...

    async def run(self) -> None:
        """Deliver datagrams to `receive` until cancelled."""
        ...

    def send(self, datagram: bytes, peer: Peer) -> None:
        """Send or drop; never raises, never blocks, and never calls `receive`."""
        ...

    def close(self) -> None:
        """Release the socket."""
        ...
