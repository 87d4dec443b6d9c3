"""A message layer on a bench: what it sends, tells and asks is written down; time is a number."""

from __future__ import annotations

import random

from fita.coap.code import Code
from fita.coap.errors import ExchangeError
from fita.coap.interfaces import Limits, Option, Peer, TransmissionParameters
from fita.coap.message.exchange import Exchange, IncomingRequest, Verdict
from fita.coap.message.format import Message, decode
from fita.coap.message.reliability import MessageLayer

PEER = ("192.0.2.1", 5683)
OTHER = ("2001:db8::1", 5683)


class Owner:
    """Remembers how its exchange ended."""

    def __init__(self) -> None:
        self.responses: list[Message] = []
        self.errors: list[ExchangeError] = []

    @property
    def outcome(self) -> str:
        assert len(self.responses) + len(self.errors) <= 1
        if self.errors:
            return type(self.errors[0]).__name__
        return "response" if self.responses else ""

    def answered(self, message: Message, now: float) -> None:
        self.responses.append(message)

    def failed(self, error: ExchangeError) -> None:
        self.errors.append(error)


class Bench:
    """The layer and, as its user, whoever answers `verdict` to every response."""

    def __init__(
        self, *, seed: int = 0, parameters: TransmissionParameters | None = None, limits: Limits | None = None
    ) -> None:
        self.now = 1000.0
        self.sent: list[tuple[float, Peer, bytes]] = []
        self.requests: list[IncomingRequest] = []
        self.responses: list[tuple[Message, Peer]] = []
        self.verdict = Verdict.UNKNOWN
        self.layer = MessageLayer(
            lambda datagram, peer: self.sent.append((self.now, peer, datagram)),
            parameters=parameters or TransmissionParameters(),
            limits=limits or Limits(),
            rng=random.Random(seed),
        )
        self.layer.user = self

    def on_request(self, incoming: IncomingRequest, now: float) -> None:
        self.requests.append(incoming)

    def on_response(self, message: Message, peer: Peer, now: float) -> Verdict:
        self.responses.append((message, peer))
        return self.verdict

    def start(self, owner: Owner | None = None, peer: Peer = PEER, token: bytes = b"t") -> Exchange:
        return self.layer.start(
            peer, Code.GET, token=token, options=[(11, b"x")], payload=b"", owner=owner, now=self.now
        )

    def respond(self, incoming: IncomingRequest, code: Code = Code.CONTENT, payload: bytes = b"v") -> None:
        no_options: list[Option] = []
        self.layer.respond(incoming, code, options=no_options, payload=payload, now=self.now)

    def receive(self, message: Message | bytes, peer: Peer = PEER) -> None:
        datagram = message if isinstance(message, bytes) else message.encode()
        self.layer.receive(datagram, peer, self.now)

    def advance(self, seconds: float) -> None:
        """Let the time pass as a loop would: deadline by deadline."""
        end = self.now + seconds
        while (deadline := self.layer.timers.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.layer.timers.expire(self.now)
        self.now = end

    def take(self) -> list[Message]:
        """What was sent since the last call."""
        taken = [decode(datagram) for _, _, datagram in self.sent]
        self.sent.clear()
        return taken
