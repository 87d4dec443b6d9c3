"""The errors of this package. All are `FitaError`: a message and a hint.

CoapError
├── MalformedMessageError   a datagram that is no CoAP message (RFC 7252 section 3)
├── BadOptionError          a critical option that is unknown or has an impossible value (RFC 7252 section 5.4.1)
├── ResponseError           a response with an error code; raised by a handler it becomes that response
│   └── NotObservableError  the peer answered an observation without observing (RFC 7641 section 4.1)
├── ExchangeError           no response to a request
│   ├── RequestTimeoutError nothing came back, after every retransmission (RFC 7252 section 4.2)
│   ├── ResetError          the peer rejected the message (RFC 7252 section 4.2)
│   ├── PeerBusyError       too many requests to this peer wait already
│   └── EndpointClosedError this endpoint was closed meanwhile
├── BlockwiseError          the peer broke a blockwise transfer, or the body is larger than allowed (RFC 7959)
└── TransportError          the socket could not be opened, or a peer is no numeric address and port
"""

from __future__ import annotations

from fita.base.errors import FitaError
from fita.coap.code import Code


class CoapError(FitaError):
    """Root of this package's errors."""


class MalformedMessageError(CoapError):
    """A datagram that is no CoAP message.

    `reset_message_id` is the message id to answer with RST when the header showed a confirmable message
    (RFC 7252 section 4.2); None when the datagram is to be dropped silently.
    """

    def __init__(self, message: str, *, reset_message_id: int | None = None) -> None:
        super().__init__(message)
        self.reset_message_id = reset_message_id


class BadOptionError(CoapError):
    """A critical option that is unknown, wrongly repeated, or outside its defined length; `number` names it."""

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.number = number


class ResponseError(CoapError):
    """An error as a response: `code` 4.xx or 5.xx, `diagnostic` as text for people (RFC 7252 section 5.5.2)."""

    def __init__(self, code: Code, diagnostic: str = "", *, hint: str = "") -> None:
        super().__init__(
            f"{code} {code.phrase}: {diagnostic}" if diagnostic else f"{code} {code.phrase}", hint=hint
        )
        self.code = code
        self.diagnostic = diagnostic


class NotObservableError(ResponseError):
    """The peer answered the representation but does not observe it; `code` is its success code."""


class ExchangeError(CoapError):
    """A request got no response."""


class RequestTimeoutError(ExchangeError):
    """Nothing came back: neither an acknowledgement after MAX_RETRANSMIT nor the promised separate response."""


class ResetError(ExchangeError):
    """The peer answered with RST: it has no context for the message (it may have restarted)."""


class PeerBusyError(ExchangeError):
    """More requests wait for this peer than `Limits.waiting_per_peer`."""


class EndpointClosedError(ExchangeError):
    """The endpoint was closed, or told to forget the peer, while the request was under way."""


class BlockwiseError(CoapError):
    """A blockwise transfer that the peer broke, or a body over `Limits.body_bytes`."""


class TransportError(CoapError):
    """The socket could not be opened, or a peer is no numeric address and port."""
