"""Reliability: retransmission and deduplication. Portable: runs on CPython and MicroPython."""

import unittest

import coap
from coap import Message
from exchange import Exchange

GATEWAY = ("192.0.2.1", 5683)
OTHER = ("192.0.2.2", 5683)


class ExchangeTest(unittest.TestCase):
    def setUp(self):
        self.sent = []
        self.handled = []
        self.ended = []
        self.exchange = Exchange(self.send, self.handle)

    def send(self, datagram, address):
        self.sent.append((coap.decode(datagram), address))

    def handle(self, message, address, now):
        self.handled.append(message)
        return Message(coap.ACK, coap.CHANGED, 0, payload=b"%d" % len(self.handled))

    def done(self, context, reply):
        self.ended.append((context, reply))

    def receive(self, message, now=0, address=GATEWAY):
        self.exchange.receive(message.encode(), address, now)

    def request(self, now=0):
        self.exchange.request(Message(coap.CON, coap.POST, 0), GATEWAY, now, self.done, "context")
        return self.sent[-1][0]


class TestServing(ExchangeTest):
    def test_a_confirmable_request_is_answered_in_its_acknowledgement(self):
        self.receive(Message(coap.CON, coap.POST, 7, b"tok"))
        answer, address = self.sent[0]
        self.assertEqual((answer.kind, answer.mid, answer.token, address), (coap.ACK, 7, b"tok", GATEWAY))

    def test_a_non_confirmable_one_is_answered_likewise(self):
        self.receive(Message(coap.NON, coap.POST, 7, b"tok"))
        self.assertEqual((self.sent[0][0].kind, self.sent[0][0].token), (coap.NON, b"tok"))

    def test_a_duplicate_gets_the_same_answer_and_is_not_done_twice(self):
        for _ in range(3):
            self.receive(Message(coap.CON, coap.POST, 7, b"tok"))
        self.assertEqual(len(self.handled), 1)
        self.assertEqual([answer.payload for answer, _ in self.sent], [b"1"] * 3)

    def test_the_same_id_of_another_peer_is_no_duplicate(self):
        self.receive(Message(coap.CON, coap.POST, 7))
        self.receive(Message(coap.CON, coap.POST, 7), address=OTHER)
        self.assertEqual(len(self.handled), 2)

    def test_the_same_id_after_its_lifetime_is_no_duplicate(self):
        self.receive(Message(coap.CON, coap.POST, 7))
        self.receive(Message(coap.CON, coap.POST, 7), now=247001)
        self.assertEqual(len(self.handled), 2)

    def test_memory_for_duplicates_is_bounded(self):
        for mid in range(100):
            self.receive(Message(coap.CON, coap.POST, mid))
        self.receive(Message(coap.CON, coap.POST, 99))
        self.assertEqual(len(self.handled), 100)
        self.receive(Message(coap.CON, coap.POST, 1))
        self.assertEqual(len(self.handled), 101)

    def test_pings_and_nonsense_are_reset(self):
        self.receive(Message(coap.CON, coap.EMPTY, 9))
        self.exchange.receive(b"\x40\x01\x00\x0a\xff", GATEWAY, 0)
        self.assertEqual([(m.kind, m.mid) for m, _ in self.sent], [(coap.RST, 9), (coap.RST, 10)])

    def test_nonsense_that_asks_for_nothing_is_dropped(self):
        for data in (b"", b"\x00" * 10, b"\x50\x01\x00\x0a\xff", b"\x60", b"\xff" * 1200):
            self.exchange.receive(data, GATEWAY, 0)
        self.assertEqual(self.sent, [])


class TestRequesting(ExchangeTest):
    def test_a_response_in_the_acknowledgement(self):
        message = self.request()
        self.receive(Message(coap.ACK, coap.CREATED, message.mid, message.token))
        self.assertEqual([(context, reply.code) for context, reply in self.ended], [("context", coap.CREATED)])
        self.assertIsNone(self.exchange.poll(10000))

    def test_a_response_of_its_own_after_an_empty_acknowledgement(self):
        message = self.request()
        self.receive(Message(coap.ACK, coap.EMPTY, message.mid))
        self.exchange.poll(10000)
        self.assertEqual(len(self.sent), 1)
        self.receive(Message(coap.CON, coap.CREATED, 500, message.token))
        self.assertEqual((self.sent[-1][0].kind, self.sent[-1][0].mid), (coap.ACK, 500))
        self.assertEqual(len(self.ended), 1)

    def test_a_response_that_overtakes_its_acknowledgement(self):
        message = self.request()
        self.receive(Message(coap.CON, coap.CREATED, 500, message.token))
        self.receive(Message(coap.ACK, coap.EMPTY, message.mid))
        self.assertEqual(len(self.ended), 1)

    def test_responses_of_others_are_refused(self):
        message = self.request()
        self.receive(Message(coap.CON, coap.CREATED, 500, message.token), address=OTHER)
        self.receive(Message(coap.CON, coap.CREATED, 501, b"other"))
        self.assertEqual([m.kind for m, _ in self.sent[1:]], [coap.RST, coap.RST])
        self.assertEqual(self.ended, [])

    def test_silence_four_repetitions_then_the_end(self):
        self.request()
        times = []
        now = 0
        while not self.ended:
            before = len(self.sent)
            due = self.exchange.poll(now)
            if len(self.sent) > before:
                times.append(now)
            now = max(due or now, now + 1)
        self.assertEqual(len(times), 4)
        self.assertEqual(self.ended, [("context", None)])
        self.assertLess(62000, now)
        self.assertLess(now, 93001)
        gaps = [later - earlier for earlier, later in zip([0] + times, times)]
        self.assertEqual(gaps, [gaps[0] * factor for factor in (1, 2, 4, 8)])

    def test_a_reset_ends_it(self):
        message = self.request()
        self.receive(Message(coap.RST, coap.EMPTY, message.mid))
        self.assertEqual(self.ended[0][1].kind, coap.RST)

    def test_tokens_are_random(self):
        self.assertNotEqual(self.request().token, self.request().token)
