from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from coap_layer import OTHER, PEER, Bench, Owner
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.coap.code import Code
from fita.coap.errors import MalformedMessageError, PeerBusyError
from fita.coap.interfaces import Limits, TransmissionParameters
from fita.coap.message.exchange import Verdict
from fita.coap.message.format import ACK, CON, NON, RST, Message, MessageType

LIFETIME_S = TransmissionParameters().exchange_lifetime_s


def request(message_id: int = 1, kind: MessageType = CON) -> Message:
    return Message(kind, Code.GET, message_id, b"\x53", ((11, b"temperature"),))


def response(message_id: int, kind: MessageType = CON, token: bytes = b"t") -> Message:
    return Message(kind, Code.CONTENT, message_id, token, (), b"22.3 C")


def empty(kind: MessageType, message_id: int) -> Message:
    return Message(kind, Code.EMPTY, message_id)


@given(st.integers(0, 2**32))
@settings(max_examples=30)
def test_retransmission_doubles_a_random_timeout_and_ends_in_time(seed: int) -> None:
    """RFC 7252 section 4.2, figure 18's loss taken to its end."""
    bench, owner = Bench(seed=seed), Owner()
    began = bench.now
    bench.start(owner)
    bench.advance(200)
    times = [at - began for at, _, _ in bench.sent]
    assert len(times) == 5
    assert len({datagram for _, _, datagram in bench.sent}) == 1, "each transmission is the same message"
    first = times[1]
    assert 2 <= first <= 3
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([first, 2 * first, 4 * first, 8 * first])
    assert owner.outcome == "RequestTimeoutError"
    assert len(bench.layer.timers) == 1, "only the sweep of peers waits"


def test_a_piggybacked_response_ends_the_exchange() -> None:
    """RFC 7252 appendix A, figure 17."""
    bench, owner = Bench(), Owner()
    exchange = bench.start(owner)
    bench.take()
    bench.receive(response(exchange.message_id, ACK))
    assert owner.outcome == "response"
    assert owner.responses[0].payload == b"22.3 C"
    bench.receive(response(exchange.message_id, ACK))
    bench.advance(200)
    assert bench.take() == []
    assert owner.outcome == "response"


def test_a_lost_acknowledgement_is_made_good_by_retransmission() -> None:
    """RFC 7252 appendix A, figure 18."""
    bench, owner = Bench(), Owner()
    exchange = bench.start(owner)
    bench.advance(4)
    assert bench.take() == [bench_message(exchange.message_id)] * 2
    bench.receive(response(exchange.message_id, ACK))
    assert owner.outcome == "response"
    assert bench.layer.counters.retransmissions == 1


def bench_message(message_id: int, token: bytes = b"t") -> Message:
    return Message(CON, Code.GET, message_id, token, ((11, b"x"),))


def test_a_separate_response_is_acknowledged_once_for_each_copy_and_taken_once() -> None:
    """RFC 7252 appendix A, figure 20; with the response doubled."""
    bench, owner = Bench(), Owner()
    exchange = bench.start(owner)
    bench.receive(empty(ACK, exchange.message_id))
    bench.advance(90)
    assert bench.take() == [bench_message(exchange.message_id)], "an acknowledged request is not repeated"
    bench.verdict = Verdict.TAKEN
    bench.receive(response(0xAD7B))
    bench.layer.end(exchange, bench.now)
    bench.verdict = Verdict.UNKNOWN
    bench.receive(response(0xAD7B))
    assert bench.take() == [empty(ACK, 0xAD7B)] * 2
    assert owner.outcome == ""


def test_an_unexpected_response_is_rejected() -> None:
    """RFC 7252 appendix A, figure 21: the client crashed meanwhile."""
    bench = Bench()
    bench.receive(response(0xAD7C))
    bench.receive(response(0xAD7D, NON))
    assert bench.take() == [empty(RST, 0xAD7C), empty(RST, 0xAD7D)]


def test_a_promised_response_that_never_comes_is_a_timeout() -> None:
    bench, owner = Bench(), Owner()
    exchange = bench.start(owner)
    bench.receive(empty(ACK, exchange.message_id))
    bench.receive(empty(ACK, exchange.message_id))
    bench.advance(92)
    assert owner.outcome == ""
    bench.advance(2)
    assert owner.outcome == "RequestTimeoutError"


def test_a_response_in_an_ack_is_taken_even_after_the_promise_of_a_separate_one() -> None:
    bench, owner = Bench(), Owner()
    exchange = bench.start(owner)
    bench.receive(empty(ACK, exchange.message_id))
    bench.receive(response(exchange.message_id, ACK))
    assert owner.outcome == "response"


def test_a_reset_ends_the_exchange() -> None:
    bench, owner = Bench(), Owner()
    exchange = bench.start(owner)
    bench.receive(empty(RST, exchange.message_id))
    assert owner.outcome == "ResetError"
    bench.take()
    bench.advance(200)
    assert bench.take() == []


@pytest.mark.parametrize("stray", ["message id", "peer", "token", "request in an ack"])
def test_a_stray_reply_changes_nothing(stray: str) -> None:
    bench, owner = Bench(), Owner()
    exchange = bench.start(owner)
    message_id = exchange.message_id
    bench.take()
    match stray:
        case "message id":
            bench.receive(response(message_id ^ 1, ACK))
            bench.receive(empty(RST, message_id ^ 1))
        case "peer":
            bench.receive(response(message_id, ACK), OTHER)
        case "token":
            bench.receive(response(message_id, ACK, token=b"u"))
        case _:
            bench.receive(Message(ACK, Code.GET, message_id, b"t"))
    assert bench.take() == []
    assert owner.outcome == ""
    bench.receive(response(message_id, ACK))
    assert owner.outcome == "response"


def test_a_ping_is_answered_with_a_reset() -> None:
    bench = Bench()
    bench.receive(empty(CON, 7))
    bench.receive(empty(NON, 8))
    assert bench.take() == [empty(RST, 7)]


def test_malformed_datagrams_are_counted_and_only_confirmable_ones_reset() -> None:
    bench = Bench()
    for datagram in (b"", b"\x00" * 20, b"\x40\x01\x00\x05\xff", b"\x50\x01\x00\x06\xff"):
        bench.receive(datagram)
    assert bench.take() == [empty(RST, 5)]
    assert bench.layer.counters.malformed == 4
    assert bench.layer.counters.received == 4


def test_a_duplicate_request_gets_the_same_answer_and_does_not_reach_the_user() -> None:
    """RFC 7252 appendix A, figure 19, and section 4.5."""
    bench = Bench()
    bench.receive(request(0x7D37))
    bench.receive(request(0x7D37))
    assert bench.take() == [], "nothing to say before the answer is known"
    bench.respond(bench.requests[0], payload=b"22.3 C")
    bench.advance(LIFETIME_S - 1)
    bench.receive(request(0x7D37))
    answer = Message(ACK, Code.CONTENT, 0x7D37, b"\x53", (), b"22.3 C")
    assert bench.take() == [answer, answer]
    assert len(bench.requests) == 1
    bench.receive(request(0x7D37), OTHER)
    assert len(bench.requests) == 2, "message ids of two peers have nothing to do with each other"
    bench.advance(LIFETIME_S)
    bench.receive(request(0x7D37))
    assert len(bench.requests) == 3


def test_an_answer_that_takes_long_is_acknowledged_and_sent_apart() -> None:
    bench = Bench()
    bench.receive(request(5))
    bench.layer.postpone(bench.requests[0], bench.now)
    bench.advance(0.9)
    assert bench.take() == []
    bench.advance(0.2)
    bench.receive(request(5))
    assert bench.take() == [empty(ACK, 5)] * 2
    bench.respond(bench.requests[0])
    (separate,) = bench.take()
    assert (separate.type, separate.token, separate.payload) == (CON, b"\x53", b"v")
    bench.receive(empty(ACK, separate.message_id))
    bench.advance(200)
    assert bench.take() == []


def test_an_answer_in_time_needs_no_acknowledgement_of_its_own() -> None:
    bench = Bench()
    bench.receive(request(5))
    bench.layer.postpone(bench.requests[0], bench.now)
    bench.respond(bench.requests[0])
    bench.advance(10)
    assert [message.code for message in bench.take()] == [Code.CONTENT]


def test_a_non_confirmable_request_gets_a_non_confirmable_answer() -> None:
    """RFC 7252 appendix A, figure 22."""
    bench = Bench()
    bench.receive(request(0x7D40, NON))
    bench.receive(request(0x7D40, NON))
    bench.layer.postpone(bench.requests[0], bench.now)
    bench.advance(5)
    bench.respond(bench.requests[0])
    (answer,) = bench.take()
    assert (answer.type, answer.token) == (NON, b"\x53")
    assert len(bench.requests) == 1


def test_an_answer_that_cannot_be_encoded_leaves_the_request_open() -> None:
    bench = Bench()
    bench.receive(request(5))
    with pytest.raises(MalformedMessageError):
        bench.layer.respond(bench.requests[0], Code.CONTENT, options=[(70_000, b"")], payload=b"", now=bench.now)
    bench.respond(bench.requests[0])
    assert [message.code for message in bench.take()] == [Code.CONTENT]


def test_a_notification_is_not_remembered_but_each_copy_acknowledged() -> None:
    bench = Bench()
    bench.verdict = Verdict.NOTIFICATION
    for _ in range(2):
        bench.receive(response(9))
    assert bench.take() == [empty(ACK, 9)] * 2
    assert len(bench.responses) == 2
    bench.receive(response(10, NON))
    assert bench.take() == []


def test_a_doubled_non_confirmable_response_is_not_rejected() -> None:
    bench = Bench()
    bench.verdict = Verdict.TAKEN
    bench.receive(response(9, NON))
    bench.verdict = Verdict.UNKNOWN
    bench.receive(response(9, NON))
    assert bench.take() == []


def test_one_message_at_a_time_to_each_peer_in_order() -> None:
    bench = Bench()
    exchanges = [bench.start(Owner(), token=bytes([index])) for index in range(3)]
    bench.start(Owner(), OTHER, token=b"other")
    assert [message.token for message in bench.take()] == [b"\x00", b"other"]
    bench.receive(response(exchanges[0].message_id, ACK, token=b"\x00"))
    bench.receive(empty(ACK, exchanges[1].message_id))
    assert [message.token for message in bench.take()] == [b"\x01", b"\x02"]


def test_an_ended_exchange_makes_room_for_the_next() -> None:
    bench = Bench()
    exchanges = [bench.start(token=bytes([index])) for index in range(3)]
    bench.layer.end(exchanges[1], bench.now)
    bench.layer.end(exchanges[0], bench.now)
    bench.layer.end(exchanges[0], bench.now)
    assert [message.token for message in bench.take()] == [b"\x00", b"\x02"]


def test_too_many_waiting_requests_are_refused() -> None:
    bench = Bench(limits=Limits(waiting_per_peer=2))
    for _ in range(3):
        bench.start()
    with pytest.raises(PeerBusyError):
        bench.start()
    bench.start(peer=OTHER)


def test_what_is_under_way_follows_the_peer() -> None:
    bench, owners = Bench(), [Owner(), Owner()]
    exchanges = [bench.start(owner, token=bytes([index])) for index, owner in enumerate(owners)]
    bench.sent.clear()
    bench.layer.rebind(PEER, OTHER)
    assert [peer for _, peer, _ in bench.sent] == [OTHER], "at once, not at the next timeout"
    bench.receive(response(exchanges[0].message_id, ACK, token=b"\x00"), PEER)
    assert owners[0].outcome == "", "the old address is nobody's any more"
    for index in range(2):
        bench.receive(response(exchanges[index].message_id, ACK, token=bytes([index])), OTHER)
    assert [owner.outcome for owner in owners] == ["response", "response"]
    assert bench.start(peer=OTHER).message_id == (exchanges[1].message_id + 1) & 0xFFFF


def test_a_peer_that_moves_to_a_known_address_brings_its_exchanges_along() -> None:
    bench, owners = Bench(), [Owner(), Owner(), Owner()]
    moved = bench.start(owners[0], PEER, token=b"0")
    there = bench.start(owners[1], OTHER, token=b"1")
    waiting = bench.start(owners[2], OTHER, token=b"2")
    bench.layer.rebind(PEER, OTHER)
    assert bench.layer._contexts[OTHER].sent == 2
    bench.receive(response(there.message_id, ACK, token=b"1"), OTHER)
    bench.receive(response(moved.message_id, ACK, token=b"0"), OTHER)
    bench.receive(response(waiting.message_id, ACK, token=b"2"), OTHER)
    assert [owner.outcome for owner in owners] == ["response"] * 3
    bench.take()
    for _ in range(2):
        bench.start(peer=OTHER)
    assert len(bench.take()) == 1, "one at a time again"


def test_a_forgotten_peer_ends_everything_but_its_message_ids() -> None:
    bench, owners = Bench(), [Owner(), Owner(), Owner()]
    promised = bench.start(owners[0])
    bench.receive(empty(ACK, promised.message_id))
    last = [bench.start(owner) for owner in owners[1:]][-1]
    bench.layer.forget(PEER)
    bench.layer.forget(OTHER)
    assert [owner.outcome for owner in owners] == ["EndpointClosedError"] * 3
    bench.sent.clear()
    bench.advance(100)
    assert bench.sent == []
    assert bench.start().message_id == (last.message_id + 1) & 0xFFFF


def test_peers_that_nothing_is_sent_to_are_dropped() -> None:
    bench = Bench()
    exchange = bench.start(Owner())
    bench.receive(response(exchange.message_id, ACK))
    bench.advance(3 * LIFETIME_S)
    assert len(bench.layer.timers) == 0
    assert bench.layer.timers.next_deadline() is None


def test_message_ids_are_not_used_again_within_their_lifetime() -> None:
    bench = Bench()
    used = set()
    with contextlib.suppress(PeerBusyError):
        while len(used) < 0x10000:
            exchange = bench.start()
            assert exchange.message_id not in used
            used.add(exchange.message_id)
            bench.layer.end(exchange, bench.now)
    assert 0x8000 <= len(used) < 0x10000
    bench.advance(LIFETIME_S - 1)
    with pytest.raises(PeerBusyError, match="message ids"):
        bench.start()
    bench.advance(2)
    bench.start()
