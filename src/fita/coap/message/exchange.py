"""What the message layer keeps of messages under way: exchanges, incoming requests, and what it knows of a peer.

Also the two protocols through which it speaks to the request/response layer. No behaviour of its own: the rules
stand in `fita.coap.message.reliability`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from fita.coap.errors import ExchangeError, PeerBusyError
from fita.coap.interfaces import Peer
from fita.coap.message.format import Message

_HALF = 0x8000  # of all message ids


class Verdict(Enum):
    """What the upper layer makes of a response that came in a message of its own."""

    UNKNOWN = auto()  # nobody waits for it: rejected with RST
    TAKEN = auto()  # a duplicate must be recognised by its message id
    NOTIFICATION = auto()  # a duplicate is recognised by its Observe number, so it need not be remembered


class MessageUser(Protocol):
    """The request/response layer."""

    def on_request(self, incoming: IncomingRequest, now: float) -> None:
        """A request that was not seen before. `MessageLayer.respond` answers it, now or later."""
        ...

    def on_response(self, message: Message, peer: Peer, now: float) -> Verdict:
        """A response in a message of its own; one in an ACK goes to the owner of the exchange."""
        ...


class ExchangeOwner(Protocol):
    """Whoever sent a confirmable request. At most one of these is called, and none after `MessageLayer.end`."""

    def answered(self, message: Message, now: float) -> None:
        """The response came in the ACK."""
        ...

    def failed(self, error: ExchangeError) -> None:
        """No acknowledgement, no separate response in time, a reset, or the peer was given up."""
        ...


@dataclass(slots=True)
class Counters:
    """Since the start. Names say what was counted."""

    received: int = 0
    malformed: int = 0
    duplicates: int = 0
    retransmissions: int = 0
    timeouts: int = 0
    resets_sent: int = 0


class ExchangeState(Enum):
    """WAITING behind NSTART, SENT and unacknowledged, PROMISED (acknowledged, the response comes apart), ENDED."""

    WAITING = auto()
    SENT = auto()
    PROMISED = auto()
    ENDED = auto()


class Exchange:
    """A confirmable message of ours until its response. `context` is where it goes, also after the peer moved."""

    __slots__ = (
        "context",
        "datagram",
        "deadline",
        "expire",
        "message_id",
        "owner",
        "state",
        "timeout_s",
        "token",
        "tries",
    )

    def __init__(
        self,
        message: Message,
        context: PeerContext,
        owner: ExchangeOwner | None,
        expire: Callable[[Exchange, float], None],
    ) -> None:
        self.context = context
        self.message_id = message.message_id
        self.token = message.token
        self.datagram = message.encode()
        self.owner = owner
        self.expire = expire
        self.state = ExchangeState.WAITING
        self.deadline: float | None = None
        self.timeout_s = 0.0
        self.tries = 0

    @property
    def peer(self) -> Peer:
        """Where the message goes now."""
        return self.context.peer

    @property
    def is_promised(self) -> bool:
        return self.state is ExchangeState.PROMISED

    def fire(self, now: float) -> None:
        self.expire(self, now)


class PeerContext:
    """What is kept of a peer that confirmable messages go to: its message ids and the exchanges with it."""

    __slots__ = ("_half_entered_at", "exchanges", "next_message_id", "peer", "sent", "used")

    def __init__(self, peer: Peer, next_message_id: int) -> None:
        self.peer = peer
        self.next_message_id = next_message_id
        self.exchanges: list[Exchange] = []  # in the order they were started
        self.sent = 0  # of them in state SENT
        self.used = True
        self._half_entered_at = -math.inf

    @property
    def waiting(self) -> int:
        """Exchanges behind NSTART."""
        if not self.exchanges:
            return 0
        return sum(exchange.state is ExchangeState.WAITING for exchange in self.exchanges)

    def take_message_id(self, now: float, lifetime_s: float) -> int:
        """A message id that was not used for `lifetime_s` (RFC 7252 section 4.4). Raises `PeerBusyError`.

        It is enough to look at two halves of the ids: one may be entered again a lifetime after it was left.
        """
        message_id = self.next_message_id
        if message_id % _HALF == 0:
            if now - self._half_entered_at < lifetime_s:
                raise PeerBusyError(
                    f"all message ids for {self.peer[0]}:{self.peer[1]} are in use",
                    hint=f"send less than {_HALF} requests in {lifetime_s:.0f} s to one peer",
                )
            self._half_entered_at = now
        self.next_message_id = (message_id + 1) & 0xFFFF
        self.used = True
        return message_id

    def find_transmitted(self, message_id: int) -> Exchange | None:
        for exchange in self.exchanges:
            if exchange.message_id == message_id and exchange.state is not ExchangeState.WAITING:
                return exchange
        return None

    def find_waiting(self) -> Exchange | None:
        """The one that waits longest."""
        for exchange in self.exchanges:
            if exchange.state is ExchangeState.WAITING:
                return exchange
        return None

    def absorb(self, other: PeerContext) -> None:
        """Take over what is under way in `other`, which is the same peer, and its message ids."""
        for exchange in other.exchanges:
            exchange.context = self
        self.exchanges += other.exchanges
        self.sent += other.sent
        self.next_message_id = other.next_message_id
        self._half_entered_at = max(self._half_entered_at, other._half_entered_at)


class IncomingRequest:
    """A request of a peer until it is answered."""

    __slots__ = ("acknowledge", "acknowledged", "deadline", "message", "peer")

    def __init__(self, message: Message, peer: Peer, acknowledge: Callable[[IncomingRequest], None]) -> None:
        self.message = message
        self.peer = peer
        self.acknowledge = acknowledge
        self.acknowledged = False
        self.deadline: float | None = None

    def fire(self, now: float) -> None:
        del now
        self.acknowledge(self)
