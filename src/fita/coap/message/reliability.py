"""The message layer of RFC 7252 section 4 without I/O and without a clock.

Datagrams and the time come in, datagrams go out through `send`, requests and responses go up to a `MessageUser`.
It retransmits confirmable messages, matches ACK and RST, answers duplicates from memory, acknowledges requests
that take long, and holds back messages to a peer that has `nstart` of them unacknowledged. It knows tokens only to
compare them, and no option.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from fita.coap.code import Code
from fita.coap.errors import (
    EndpointClosedError,
    MalformedMessageError,
    PeerBusyError,
    RequestTimeoutError,
    ResetError,
)
from fita.coap.interfaces import Limits, Option, Peer, TransmissionParameters
from fita.coap.message.deduplication import Deduplication
from fita.coap.message.exchange import (
    Counters,
    Exchange,
    ExchangeOwner,
    ExchangeState,
    IncomingRequest,
    MessageUser,
    PeerContext,
    Verdict,
)
from fita.coap.message.format import ACK, CON, NON, RST, Message, MessageType, decode, encode_empty
from fita.coap.message.timer import Timers


class MessageLayer:
    """All exchanges of one endpoint. `timers` is public: the owner calls `expire`, and others share the heap.

    `user` is set before the first datagram comes in.
    """

    user: MessageUser

    def __init__(
        self,
        send: Callable[[bytes, Peer], None],
        *,
        parameters: TransmissionParameters,
        limits: Limits,
        rng: random.Random,
    ) -> None:
        self.timers = Timers()
        self.counters = Counters()
        self.deadline: float | None = None
        self._send = send
        self._parameters = parameters
        self._lifetime_s = parameters.exchange_lifetime_s
        self._limits = limits
        self._rng = rng
        self._contexts: dict[Peer, PeerContext] = {}
        self._seen = Deduplication(self._lifetime_s, limits.remembered_messages)
        self._non_message_id = rng.getrandbits(16)
        self._acknowledge = self.acknowledge  # bound once, not for every message
        self._expire = self._on_expiry

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
            self.user.on_request(IncomingRequest(message, peer, self._acknowledge), now)
            return
        self.counters.duplicates += 1
        if answer:
            self._send(answer, peer)

    def _receive_response(self, message: Message, peer: Peer, now: float) -> None:
        verdict = self.user.on_response(message, peer, now)
        key = (peer, message.message_id)
        if verdict is Verdict.UNKNOWN:
            answer = self._seen.find(key, now)
            if answer is None:
                self._reset(message.message_id, peer)
                return
            self.counters.duplicates += 1
            if answer:
                self._send(answer, peer)
            return
        answer = encode_empty(ACK, message.message_id) if message.type is CON else b""
        if verdict is Verdict.TAKEN:
            self._seen.find(key, now)  # drops what is too old
            self._seen.remember(key, answer)
        if answer:
            self._send(answer, peer)

    def _receive_reply(self, message: Message, peer: Peer, now: float) -> None:
        context = self._contexts.get(peer)
        exchange = context.find_transmitted(message.message_id) if context is not None else None
        if exchange is None:
            return
        owner = exchange.owner
        if message.type is RST:
            if message.code == 0:
                self.end(exchange, now)
                if owner is not None:
                    owner.failed(ResetError(f"{peer[0]}:{peer[1]} rejected the message"))
        elif message.code == 0:
            if owner is None:
                self.end(exchange, now)
            elif exchange.state is ExchangeState.SENT:
                self._await_separate_response(exchange, now)
        elif message.code.is_response and message.token == exchange.token:
            self.end(exchange, now)
            if owner is not None:
                owner.answered(message, now)

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
        """Send confirmably, or queue behind NSTART.

        Raises `PeerBusyError`, and `MalformedMessageError` for options that no message can carry.
        """
        context = self._contexts.get(peer) or self._new_context(peer, now)
        free = context.sent < self._parameters.nstart
        if not free and context.waiting >= self._limits.waiting_per_peer:
            raise PeerBusyError(f"{context.waiting} requests to {peer[0]}:{peer[1]} wait already")
        message_id = context.take_message_id(now, self._lifetime_s)
        message = Message(CON, code, message_id, token, tuple(options), payload)
        exchange = Exchange(message, context, owner, self._expire)
        context.exchanges.append(exchange)
        if free:
            self._transmit(exchange, now)
        return exchange

    def _new_context(self, peer: Peer, now: float) -> PeerContext:
        if self.deadline is None:
            self.timers.schedule(self, now + self._lifetime_s)
        context = self._contexts[peer] = PeerContext(peer, self._rng.getrandbits(16))
        return context

    def _transmit(self, exchange: Exchange, now: float) -> None:
        context = exchange.context
        context.sent += 1
        context.used = True
        exchange.state = ExchangeState.SENT
        spread = 1 + (self._parameters.ack_random_factor - 1) * self._rng.random()
        exchange.timeout_s = self._parameters.ack_timeout_s * spread
        self.timers.schedule(exchange, now + exchange.timeout_s)
        self._send(exchange.datagram, context.peer)

    def _on_expiry(self, exchange: Exchange, now: float) -> None:
        """The timeout of `exchange` has passed (RFC 7252 section 4.2)."""
        promised = exchange.state is ExchangeState.PROMISED
        if not promised and exchange.tries < self._parameters.max_retransmit:
            exchange.tries += 1
            exchange.timeout_s *= 2
            self.counters.retransmissions += 1
            self.timers.schedule(exchange, now + exchange.timeout_s)
            self._send(exchange.datagram, exchange.peer)
            return
        self.counters.timeouts += 1
        self.end(exchange, now)
        if exchange.owner is not None:
            host, port = exchange.peer
            what = "the response it promised" if promised else f"{exchange.tries + 1} transmissions"
            exchange.owner.failed(
                RequestTimeoutError(f"{host}:{port} did not {'send' if promised else 'answer'} {what}")
            )

    def _await_separate_response(self, exchange: Exchange, now: float) -> None:
        """RFC 7252 section 5.2.2 names no bound; a peer gets as long as one that never acknowledges."""
        context = exchange.context
        context.sent -= 1
        exchange.state = ExchangeState.PROMISED
        self.timers.schedule(exchange, now + self._parameters.max_transmit_wait_s)
        self._transmit_waiting(context, now)

    def _transmit_waiting(self, context: PeerContext, now: float) -> None:
        while context.sent < self._parameters.nstart and len(context.exchanges) > context.sent:
            exchange = context.find_waiting()
            if exchange is None:
                return
            self._transmit(exchange, now)

    def end(self, exchange: Exchange, now: float) -> None:
        """Stop `exchange` in whatever state, and let the next one to its peer go. Does nothing to an ended one."""
        if exchange.state is ExchangeState.ENDED:
            return
        context = exchange.context
        self.timers.cancel(exchange)
        context.exchanges.remove(exchange)
        if exchange.state is ExchangeState.SENT:
            context.sent -= 1
        exchange.state = ExchangeState.ENDED
        self._transmit_waiting(context, now)

    # Answering requests

    def respond(
        self, incoming: IncomingRequest, code: Code, *, options: Iterable[Option], payload: bytes, now: float
    ) -> None:
        """Answer in the ACK if that is still due, else in a message of its own (RFC 7252 section 5.2).

        Raises `MalformedMessageError` for options that no message can carry, `PeerBusyError` like `start`.
        """
        request = incoming.message
        if incoming.acknowledged:
            token = request.token
            self.start(incoming.peer, code, token=token, options=options, payload=payload, owner=None, now=now)
            return
        answer_type: MessageType = ACK
        message_id = request.message_id
        if request.type is NON:
            answer_type = NON
            self._non_message_id = message_id = (self._non_message_id + 1) & 0xFFFF
        answer = Message(answer_type, code, message_id, request.token, tuple(options), payload).encode()
        self.timers.cancel(incoming)
        if answer_type is ACK:
            self._seen.remember((incoming.peer, message_id), answer)
        self._send(answer, incoming.peer)

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

    def rebind(self, old_peer: Peer, new_peer: Peer) -> None:
        """Send what is under way to `old_peer` to `new_peer`, with the same message ids, and once more at once."""
        moved = self._contexts.pop(old_peer, None)
        if moved is None:
            return
        moved.peer = new_peer
        sent = [exchange for exchange in moved.exchanges if exchange.state is ExchangeState.SENT]
        present = self._contexts.get(new_peer)
        if present is None:
            self._contexts[new_peer] = moved
        else:
            present.absorb(moved)
        for exchange in sent:
            self._send(exchange.datagram, new_peer)

    def forget(self, peer: Peer) -> None:
        """End everything under way to `peer` with `EndpointClosedError`. Its message ids stay used."""
        context = self._contexts.get(peer)
        if context is None:
            return
        exchanges, context.exchanges, context.sent = context.exchanges, [], 0
        for exchange in exchanges:
            self.timers.cancel(exchange)
            exchange.state = ExchangeState.ENDED
        for exchange in exchanges:
            if exchange.owner is not None:
                exchange.owner.failed(EndpointClosedError(f"{peer[0]}:{peer[1]} was given up"))

    def forget_all(self) -> None:
        for peer in list(self._contexts):
            self.forget(peer)

    def fire(self, now: float) -> None:
        """Drop the contexts of peers that nothing was sent to for a whole EXCHANGE_LIFETIME."""
        for peer, context in list(self._contexts.items()):
            if not (context.used or context.exchanges):
                del self._contexts[peer]
            context.used = False
        if self._contexts:
            self.timers.schedule(self, now + self._lifetime_s)
