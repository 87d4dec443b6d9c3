"""The message layer of RFC 7252 section 4 without I/O and without a clock.

Datagrams and the time come in, datagrams go out through `send`, requests and responses go up to a `MessageUser`.
It retransmits confirmable messages, matches ACK and RST, answers duplicates from memory, acknowledges requests that
take long, and holds back messages to a peer that has `nstart` of them unacknowledged. It knows tokens only to
compare them, and no option.
"""

from __future__ import annotations

import ipaddress
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from fita.coap.code import Code
from fita.coap.deduplication import Deduplication
from fita.coap.errors import (
    EndpointClosedError,
    ExchangeError,
    MalformedMessageError,
    PeerBusyError,
    RequestTimeoutError,
    ResetError,
    TransportError,
)
from fita.coap.interfaces import Limits, Option, Peer, TransmissionParameters
from fita.coap.message import ACK, CON, NON, RST, Message, MessageType, decode, encode_empty
from fita.coap.timer import Timers


class Verdict(Enum):
    """What the upper layer makes of a response."""

    UNKNOWN = auto()  # nobody waits for it: rejected with RST
    TAKEN = auto()  # a duplicate must be recognised by its message id
    NOTIFICATION = auto()  # a duplicate is recognised by its Observe number, so it need not be remembered


class MessageUser(Protocol):
    """The request/response layer."""

    def on_request(self, incoming: IncomingRequest, now: float) -> None:
        """A request that was not seen before. `MessageLayer.respond` answers it, now or later."""
        ...

    def on_response(self, message: Message, peer: Peer, now: float) -> Verdict:
        """A response, in an ACK or in a message of its own."""
        ...


class ExchangeOwner(Protocol):
    """Whoever sent a confirmable request. Exactly one of these is called, unless the response came at once."""

    def acknowledged(self, now: float) -> None:
        """The peer has the message; its response comes separately."""
        ...

    def failed(self, error: ExchangeError) -> None:
        """The peer does not have it, or rejected it."""
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


class PeerContext:
    """What is kept of a peer that confirmable messages go to: its message ids and what it has not acknowledged."""

    __slots__ = ("next_message_id", "outstanding", "peer", "used", "waiting")

    def __init__(self, peer: Peer, next_message_id: int) -> None:
        self.peer = peer
        self.next_message_id = next_message_id
        self.outstanding: list[Exchange] = []
        self.waiting: deque[Exchange] = deque()
        self.used = True

    def take_message_id(self) -> int:
        message_id = self.next_message_id
        self.next_message_id = (message_id + 1) & 0xFFFF
        self.used = True
        return message_id

    def find(self, message_id: int) -> Exchange | None:
        for exchange in self.outstanding:
            if exchange.message_id == message_id:
                return exchange
        return None


class Exchange:
    """A confirmable message of ours until its ACK. `context` is where it goes, even after the peer has moved."""

    __slots__ = ("context", "datagram", "deadline", "layer", "message_id", "owner", "timeout_s", "token", "tries")

    def __init__(self, layer: MessageLayer, context: PeerContext, message: Message, owner: ExchangeOwner | None) -> None:
        self.layer = layer
        self.context = context
        self.message_id = message.message_id
        self.token = message.token
        self.datagram = message.encode()
        self.owner = owner
        self.deadline: float | None = None
        self.timeout_s = 0.0
        self.tries = 0

    def fire(self, now: float) -> None:
        self.layer.retransmit(self, now)


class IncomingRequest:
    """A request of a peer until it is answered."""

    __slots__ = ("acknowledged", "deadline", "layer", "message", "peer")

    def __init__(self, layer: MessageLayer, message: Message, peer: Peer) -> None:
        self.layer = layer
        self.message = message
        self.peer = peer
        self.acknowledged = False
        self.deadline: float | None = None

    def fire(self, now: float) -> None:
        del now
        self.layer.acknowledge(self)


class MessageLayer:
    """All exchanges of one endpoint. `timers` is public: the owner calls `expire` and shares the heap."""

    def __init__(
        self,
        user: MessageUser,
        send: Callable[[bytes, Peer], None],
        *,
        parameters: TransmissionParameters,
        limits: Limits,
        rng: random.Random,
    ) -> None:
        self.timers = Timers()
        self.counters = Counters()
        self.deadline: float | None = None
        self._user = user
        self._send = send
        self._parameters = parameters
        self._limits = limits
        self._rng = rng
        self._contexts: dict[Peer, PeerContext] = {}
        self._seen = Deduplication(parameters.exchange_lifetime_s, limits.remembered_messages)
        self._non_message_id = rng.getrandbits(16)

    # Receiving

    def receive(self, datagram: bytes, peer: Peer, now: float) -> None:
        """Take one datagram. Never raises for what it contains."""
        self.counters.received += 1
        try:
            message = decode(datagram)
        except MalformedMessageError as error:
            self.counters.malformed += 1
            if error.reset_message_id is not None:
                self._reset(error.reset_message_id, peer)
            return
        if message.type is ACK or message.type is RST:
            self._receive_reply(message, peer, now)
        elif message.code == 0:
            if message.type is CON:  # a ping (RFC 7252 section 4.3)
                self._reset(message.message_id, peer)
        elif message.code < 0x20:
            self._receive_request(message, peer, now)
        else:
            self._receive_response(message, peer, now)

    def _receive_request(self, message: Message, peer: Peer, now: float) -> None:
        key = (peer, message.message_id)
        answer = self._seen.find(key, now)
        if answer is None:
            self._seen.remember(key)
            self._user.on_request(IncomingRequest(self, message, peer), now)
            return
        self.counters.duplicates += 1
        if answer:
            self._send(answer, peer)

    def _receive_response(self, message: Message, peer: Peer, now: float) -> None:
        verdict = self._user.on_response(message, peer, now)
        key = (peer, message.message_id)
        if verdict is Verdict.UNKNOWN:
            answer = self._seen.find(key, now)
            if answer is None:
                self._reset(message.message_id, peer)
            elif answer:
                self.counters.duplicates += 1
                self._send(answer, peer)
        elif message.type is CON:
            acknowledgement = encode_empty(ACK, message.message_id)
            if verdict is Verdict.TAKEN:
                self._seen.find(key, now)
                self._seen.remember(key, acknowledgement)
            self._send(acknowledgement, peer)

    def _receive_reply(self, message: Message, peer: Peer, now: float) -> None:
        context = self._contexts.get(peer)
        exchange = context.find(message.message_id) if context is not None else None
        if exchange is None:
            return
        owner = exchange.owner
        if message.type is RST:
            if message.code == 0:
                self.end(exchange, now)
                if owner is not None:
                    owner.failed(ResetError(f"{peer[0]}:{peer[1]} rejected the message"))
        elif message.code == 0:
            self.end(exchange, now)
            if owner is not None:
                owner.acknowledged(now)
        elif message.code.is_response and message.token == exchange.token:
            self.end(exchange, now)
            self._user.on_response(message, peer, now)

    def _reset(self, message_id: int, peer: Peer) -> None:
        self.counters.resets_sent += 1
        self._send(encode_empty(RST, message_id), peer)

    # Sending confirmable messages

    def start(
        self,
        peer: Peer,
        code: Code,
        *,
        token: bytes,
        options: Iterable[Option],
        payload: bytes,
        owner: ExchangeOwner | None,
        now: float,
    ) -> Exchange:
        """Send confirmably, or queue behind NSTART. Raises `PeerBusyError`, `TransportError` for a host name."""
        context = self._contexts.get(peer) or self._new_context(peer, now)
        if len(context.waiting) >= self._limits.waiting_per_peer:
            raise PeerBusyError(f"{len(context.waiting)} requests to {peer[0]}:{peer[1]} wait already")
        message = Message(CON, code, context.take_message_id(), token, tuple(options), payload)
        exchange = Exchange(self, context, message, owner)
        if len(context.outstanding) < self._parameters.nstart:
            self._transmit(exchange, now)
        else:
            context.waiting.append(exchange)
        return exchange

    def _new_context(self, peer: Peer, now: float) -> PeerContext:
        try:
            ipaddress.ip_address(peer[0])
        except ValueError:
            raise TransportError(f"{peer[0]!r} is no numeric address", hint="resolve the name first") from None
        if self.deadline is None:
            self.timers.schedule(self, now + self._parameters.exchange_lifetime_s)
        context = self._contexts[peer] = PeerContext(peer, self._rng.getrandbits(16))
        return context

    def _transmit(self, exchange: Exchange, now: float) -> None:
        context = exchange.context
        context.outstanding.append(exchange)
        context.used = True
        spread = 1 + (self._parameters.ack_random_factor - 1) * self._rng.random()
        exchange.timeout_s = self._parameters.ack_timeout_s * spread
        self.timers.schedule(exchange, now + exchange.timeout_s)
        self._send(exchange.datagram, context.peer)

    def retransmit(self, exchange: Exchange, now: float) -> None:
        """The timeout of `exchange` has passed (RFC 7252 section 4.2)."""
        peer = exchange.context.peer
        if exchange.tries < self._parameters.max_retransmit:
            exchange.tries += 1
            exchange.timeout_s *= 2
            self.counters.retransmissions += 1
            self.timers.schedule(exchange, now + exchange.timeout_s)
            self._send(exchange.datagram, peer)
            return
        self.counters.timeouts += 1
        self.end(exchange, now)
        if exchange.owner is not None:
            error = f"{peer[0]}:{peer[1]} did not answer {exchange.tries + 1} transmissions"
            exchange.owner.failed(RequestTimeoutError(error))

    def end(self, exchange: Exchange, now: float) -> None:
        """Stop transmitting `exchange`, in whatever state, and let the next one to its peer go."""
        context = exchange.context
        self.timers.cancel(exchange)
        if exchange in context.outstanding:
            context.outstanding.remove(exchange)
        elif exchange in context.waiting:
            context.waiting.remove(exchange)
        while context.waiting and len(context.outstanding) < self._parameters.nstart:
            self._transmit(context.waiting.popleft(), now)

    # Answering requests

    def respond(
        self, incoming: IncomingRequest, code: Code, *, options: Iterable[Option], payload: bytes, now: float
    ) -> None:
        """Answer in the ACK if that is still due, else in a message of its own (RFC 7252 section 5.2)."""
        request = incoming.message
        if incoming.acknowledged:
            self._respond_separately(incoming, code, options, payload, now)
            return
        self.timers.cancel(incoming)
        answer_type: MessageType = ACK
        message_id = request.message_id
        if request.type is NON:
            answer_type = NON
            self._non_message_id = message_id = (self._non_message_id + 1) & 0xFFFF
        answer = Message(answer_type, code, message_id, request.token, tuple(options), payload).encode()
        self._seen.remember((incoming.peer, request.message_id), answer if answer_type is ACK else b"")
        self._send(answer, incoming.peer)

    def _respond_separately(
        self, incoming: IncomingRequest, code: Code, options: Iterable[Option], payload: bytes, now: float
    ) -> None:
        token = incoming.message.token
        self.start(incoming.peer, code, token=token, options=options, payload=payload, owner=None, now=now)

    def postpone(self, incoming: IncomingRequest, now: float) -> None:
        """The answer takes time: acknowledge after half of ACK_TIMEOUT unless it came (RFC 7252 section 5.2.2)."""
        if incoming.message.type is CON:
            self.timers.schedule(incoming, now + self._parameters.ack_timeout_s / 2)

    def acknowledge(self, incoming: IncomingRequest) -> None:
        """Promise a separate response."""
        acknowledgement = encode_empty(ACK, incoming.message.message_id)
        incoming.acknowledged = True
        self._seen.remember((incoming.peer, incoming.message.message_id), acknowledgement)
        self._send(acknowledgement, incoming.peer)

    # Peers

    def peer_of(self, exchange: Exchange) -> Peer:
        return exchange.context.peer

    def rebind(self, old_peer: Peer, new_peer: Peer) -> None:
        """Send what is under way to `old_peer` to `new_peer` from now on, with the same message ids."""
        moved = self._contexts.pop(old_peer, None)
        if moved is None:
            return
        moved.peer = new_peer
        present = self._contexts.get(new_peer)
        if present is None:
            self._contexts[new_peer] = moved
            return
        for exchange in [*moved.outstanding, *moved.waiting]:
            exchange.context = present
        present.outstanding += moved.outstanding
        present.waiting += moved.waiting

    def forget(self, peer: Peer) -> None:
        """End everything under way to `peer` with `EndpointClosedError`."""
        context = self._contexts.pop(peer, None)
        if context is None:
            return
        exchanges = [*context.outstanding, *context.waiting]
        context.outstanding.clear()
        context.waiting.clear()
        for exchange in exchanges:
            self.timers.cancel(exchange)
            if exchange.owner is not None:
                exchange.owner.failed(EndpointClosedError(f"{peer[0]}:{peer[1]} was given up"))

    def forget_all(self) -> None:
        for peer in list(self._contexts):
            self.forget(peer)

    def fire(self, now: float) -> None:
        """Drop the contexts of peers that nothing was sent to for a whole EXCHANGE_LIFETIME."""
        for peer, context in list(self._contexts.items()):
            if not (context.used or context.outstanding or context.waiting):
                del self._contexts[peer]
            context.used = False
        if self._contexts:
            self.timers.schedule(self, now + self._parameters.exchange_lifetime_s)
