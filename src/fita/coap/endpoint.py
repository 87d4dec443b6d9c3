"""One UDP socket that is client and server at once, as an LwM2M server must be.

See `fita.coap.interfaces` for what it promises.
"""

from __future__ import annotations

import random

from fita.coap.interfaces import (
    Limits,
    OnNotification,
    Peer,
    Request,
    RequestHandler,
    Response,
    TransmissionParameters,
    Transport,
)


class Observation:
    """One observed resource at one peer (RFC 7641). Made by `CoapEndpoint.observe`."""

    peer: Peer
    request: Request
    active: bool  # False once cancelled, forgotten, or ended by an error notification

    async def renew(self) -> None:
        """Register again with the same token (RFC 7641 section 3.3.1). Raises like `CoapEndpoint.observe`."""
        raise NotImplementedError

    async def cancel(self) -> None:
        """Deregister at the peer (RFC 7641 section 3.6); no callback comes after this call began."""
        raise NotImplementedError

    def forget(self) -> None:
        """End it here only: the peer's next notification is answered with RST, which ends it there."""
        raise NotImplementedError


class CoapEndpoint:
    """Sends requests, serves requests, observes; over one socket."""

    def __init__(
        self,
        handler: RequestHandler | None = None,
        *,
        parameters: TransmissionParameters | None = None,
        limits: Limits | None = None,
        transport: Transport | None = None,
        rng: random.Random | None = None,
    ) -> None:
        raise NotImplementedError

    async def open(self, host: str, port: int) -> Peer:
        """Bind; ``::`` takes IPv6 and IPv4, port 0 a free one. Returns the address. Raises `TransportError`."""
        raise NotImplementedError

    async def run(self) -> None:
        """Receive, retransmit and serve until cancelled. Nothing is received before it runs."""
        raise NotImplementedError

    async def request(self, peer: Peer, request: Request, *, block_size: int = 1024) -> Response:
        """Send `request` confirmably and return the whole response, whatever its code; blocks are handled.

        The caller owns the deadline (``asyncio.timeout``); a cancelled request leaves nothing behind.
        `block_size` in bytes (16 to 1024, a power of two) is the largest block to propose, in both directions.
        Raises `ExchangeError` (timeout, reset, busy, closed), `BlockwiseError`, `BadOptionError`.
        """
        raise NotImplementedError

    async def observe(self, peer: Peer, request: Request, on_notification: OnNotification) -> Observation:
        """Observe what `request` (GET or FETCH) names and return once the peer has agreed.

        Raises like `request`; also `ResponseError` for an error code, `NotObservableError` if the peer
        answered without observing.
        """
        raise NotImplementedError

    def rebind(self, old_peer: Peer, new_peer: Peer) -> None:
        """The device at `old_peer` is now at `new_peer`: move its observations and requests under way."""
        raise NotImplementedError

    def forget(self, peer: Peer) -> None:
        """Drop the peer: requests under way raise `EndpointClosedError`, observations end as by `forget`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Release the socket; requests under way raise `EndpointClosedError`."""
        raise NotImplementedError
