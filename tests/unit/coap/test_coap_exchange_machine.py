"""The message layer against what RFC 7252 section 4 promises, whatever happens in whatever order."""

from __future__ import annotations

from itertools import pairwise

from coap_layer import OTHER, PEER, Bench, Owner
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fita.coap.code import Code
from fita.coap.interfaces import Peer, TransmissionParameters
from fita.coap.message.exchange import Exchange, ExchangeState
from fita.coap.message.format import ACK, CON, NON, RST, Message, decode

PEERS = st.sampled_from([PEER, OTHER])
INDEX = st.integers(0, 30)


class ExchangeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[tuple[Exchange, Owner]] = []
        self.alive: list[tuple[Exchange, Owner]] = []
        self.ended: set[int] = set()
        self.answered: list[int] = []

    @initialize(nstart=st.integers(1, 3), seed=st.integers(0, 1000))
    def begin(self, nstart: int, seed: int) -> None:
        self.nstart = nstart
        self.bench = Bench(seed=seed, parameters=TransmissionParameters(nstart=nstart))

    def pick(self, index: int) -> tuple[Exchange, Owner]:
        return self.exchanges[index % len(self.exchanges)]

    def transmissions(self, exchange: Exchange) -> list[float]:
        return [at for at, _, datagram in self.bench.sent if datagram is exchange.datagram]

    @rule(peer=PEERS)
    def start(self, peer: Peer) -> None:
        owner = Owner()
        self.exchanges.append((self.bench.start(owner, peer, token=b"%d" % len(self.exchanges)), owner))

    @precondition(lambda self: self.exchanges)
    @rule(index=INDEX, kind=st.sampled_from(["response", "empty", "reset", "wrong token"]))
    def reply(self, index: int, kind: str) -> None:
        exchange, owner = self.pick(index)
        before = owner.outcome
        known = bool(self.transmissions(exchange)) and not before and index % len(self.exchanges) not in self.ended
        message_id = exchange.message_id
        message = {
            "response": Message(ACK, Code.CONTENT, message_id, exchange.token),
            "empty": Message(ACK, Code.EMPTY, message_id),
            "reset": Message(RST, Code.EMPTY, message_id),
            "wrong token": Message(ACK, Code.CONTENT, message_id, b"????"),
        }[kind]
        self.bench.receive(message, exchange.peer)
        expected = {"response": "response", "reset": "ResetError"}.get(kind, before) if known else before
        assert owner.outcome == expected

    @precondition(lambda self: self.exchanges)
    @rule(index=INDEX)
    def give_up(self, index: int) -> None:
        exchange, _ = self.pick(index)
        self.bench.layer.end(exchange, self.bench.now)
        self.ended.add(index % len(self.exchanges))

    @rule(peer=PEERS, message_id=st.integers(0, 5), kind=st.sampled_from([CON, NON]))
    def request(self, peer: Peer, message_id: int, kind: int) -> None:
        message = Message(CON if kind is CON else NON, Code.POST, message_id, b"r")
        earlier = [
            known for known in self.bench.requests if known.peer == peer and known.message.message_id == message_id
        ]
        self.bench.receive(message, peer)
        assert len(self.bench.requests) == len(self.answered) + (0 if earlier else 1)
        if not earlier:
            self.answered.append(len(self.bench.requests) - 1)

    @precondition(lambda self: self.bench.requests)
    @rule(index=INDEX, late=st.booleans())
    def answer(self, index: int, late: bool) -> None:
        incoming = self.bench.requests[index % len(self.bench.requests)]
        if late and not incoming.acknowledged:
            self.bench.layer.postpone(incoming, self.bench.now)
        else:
            self.bench.respond(incoming)

    @rule(seconds=st.floats(0.1, 8))
    def wait(self, seconds: float) -> None:
        if self.bench.now - 1000 < 200:  # within the lifetime of a message id
            self.bench.advance(seconds)

    @rule(peer=PEERS)
    def forget(self, peer: Peer) -> None:
        self.bench.layer.forget(peer)

    @invariant()
    def at_most_nstart_are_unacknowledged(self) -> None:
        for peer in (PEER, OTHER):
            context = self.bench.layer._contexts.get(peer)
            if context is not None:
                sent = sum(exchange.state is ExchangeState.SENT for exchange in context.exchanges)
                assert context.sent == sent <= self.nstart
                assert context.waiting == 0 or context.sent == self.nstart, "nobody waits without a reason"

    @invariant()
    def transmissions_keep_their_intervals(self) -> None:
        for exchange, _ in self.exchanges:
            times = self.transmissions(exchange)
            assert len(times) <= 5
            gaps = [later - earlier for earlier, later in pairwise(times)]
            for number, gap in enumerate(gaps):
                assert 2 * 2**number - 1e-6 <= gap <= 3 * 2**number + 1e-6

    @invariant()
    def every_exchange_is_under_way_or_over(self) -> None:
        contexts = self.bench.layer._contexts.values()
        alive = [exchange for context in contexts for exchange in context.exchanges]
        for index, (exchange, owner) in enumerate(self.exchanges):
            assert (exchange in alive) == (not owner.outcome and index not in self.ended)

    @invariant()
    def nothing_waits_for_a_timer_in_vain(self) -> None:
        contexts = self.bench.layer._contexts.values()
        timed = sum(exchange.deadline is not None for context in contexts for exchange in context.exchanges)
        timed += sum(incoming.deadline is not None for incoming in self.bench.requests)
        timed += self.bench.layer.deadline is not None
        assert len(self.bench.layer.timers) == timed

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.bench.advance(30 * 100)
        for index, (_, owner) in enumerate(self.exchanges):
            assert owner.outcome or index in self.ended
        for _, _, datagram in self.bench.sent:
            decode(datagram)


TestExchanges = ExchangeMachine.TestCase
TestExchanges.settings = settings(max_examples=40, stateful_step_count=30)
