"""Requests of the gateway on a tree of objects. Portable: runs on CPython and MicroPython."""

import unittest

import coap
from coap import Message, RequestError
from exchange import Exchange
from objects import Fixed, Tree
from server import Server

GATEWAY = ("192.0.2.1", 5683)


class Counter:
    """An object with everything: instances may be made, written, executed and deleted."""

    def __init__(self):
        self.values = {0: 5}
        self.blocks = []

    def instances(self):
        return sorted(self.values)

    def read(self, instance):
        return [(5700, self.values[instance]), (5701, "lx"), (7, ["a", "b"])]

    def read_apart(self, instance, resource):
        return "long" if resource == 99 else None

    def write(self, instance, resource, payload):
        self.values[instance] = int(payload)

    def write_block(self, instance, resource, offset, data, more):
        self.blocks.append((offset, bytes(data), more))

    def execute(self, instance, resource):
        if resource != 4:
            raise RequestError(coap.METHOD_NOT_ALLOWED)
        self.values[instance] = 0

    def create(self):
        self.values[7] = 0
        return 7

    def delete(self, instance):
        del self.values[instance]


class ServerTest(unittest.TestCase):
    def setUp(self):
        self.tree = Tree()
        self.counter = self.tree.objects[3300] = Counter()
        self.tree.objects[3] = Fixed(lambda instance: [(0, "FITA"), (21, 128)])
        self.refusals = []
        self.server = Server(self.tree)
        self.server.refused = lambda: self.refusals.append(True)
        self.sent = []
        self.exchange = Exchange(
            lambda datagram, address: self.sent.append(coap.decode(datagram)), self.server.handle
        )

    def ask(self, code, path, payload=b"", token=b"t", **options):
        message = Message(coap.CON, code, 1, token, payload)
        for segment in path.split("/") if path else ():
            message.add(coap.URI_PATH, segment)
        for name, value in options.items():
            message.add(getattr(coap, name), value)
        return self.server.handle(message, GATEWAY, 0)


class TestOperations(ServerTest):
    def test_one_resource_is_text(self):
        answer = self.ask(coap.GET, "3/0/21")
        self.assertEqual((answer.code, answer.payload), (coap.CONTENT, b"128"))
        self.assertEqual(answer.option(coap.CONTENT_FORMAT), coap.TEXT)

    def test_one_resource_in_senml_when_asked_for(self):
        answer = self.ask(coap.GET, "3/0/21", ACCEPT=coap.SENML_CBOR)
        self.assertEqual(answer.option(coap.CONTENT_FORMAT), coap.SENML_CBOR)
        self.assertEqual(bytes(answer.payload), b"\x81\xa3\x21\x65/3/0/\x00\x6221\x02\x18\x80")

    def test_several_instances_of_a_resource_are_senml(self):
        self.assertEqual(self.ask(coap.GET, "3300/0/7").option(coap.CONTENT_FORMAT), coap.SENML_CBOR)

    def test_instances_and_objects_are_senml(self):
        for path in ("3", "3/0", "3300"):
            self.assertEqual(self.ask(coap.GET, path).option(coap.CONTENT_FORMAT), coap.SENML_CBOR)

    def test_a_resource_apart(self):
        self.assertEqual(self.ask(coap.GET, "3300/0/99").payload, b"long")
        self.assertNotIn(b"long", bytes(self.ask(coap.GET, "3300/0").payload))

    def test_what_is_not_there(self):
        for path in ("4", "3/1", "3/0/99", "3300/0/98", "", "x", "3/y"):
            self.assertEqual(self.ask(coap.GET, path).code, coap.NOT_FOUND)

    def test_formats_that_the_device_has_not(self):
        self.assertEqual(self.ask(coap.GET, "3/0", ACCEPT=11542).code, coap.NOT_ACCEPTABLE)
        self.assertEqual(self.ask(coap.GET, "3/0", ACCEPT=coap.TEXT).code, coap.NOT_ACCEPTABLE)
        self.assertEqual(self.ask(coap.PUT, "3300/0/5700", b"1", CONTENT_FORMAT=112).code, coap.UNSUPPORTED_FORMAT)

    def test_write(self):
        self.assertEqual(self.ask(coap.PUT, "3300/0/5700", b"12").code, coap.CHANGED)
        self.assertEqual(self.counter.values, {0: 12})
        self.assertEqual(self.ask(coap.PUT, "3300/0/5700", b"x").code, coap.BAD_REQUEST)
        self.assertEqual(self.ask(coap.PUT, "3300/0", b"1").code, coap.METHOD_NOT_ALLOWED)
        self.assertEqual(self.ask(coap.PUT, "3300/5/5700", b"1").code, coap.NOT_FOUND)

    def test_what_an_object_cannot_do(self):
        for code, path in ((coap.PUT, "3/0/0"), (coap.POST, "3/0/4"), (coap.POST, "3"), (coap.DELETE, "3/0")):
            self.assertEqual(self.ask(code, path, b"1").code, coap.METHOD_NOT_ALLOWED)
        self.assertEqual(self.ask(0x05, "3").code, coap.METHOD_NOT_ALLOWED)  # FETCH

    def test_execute_create_delete(self):
        self.assertEqual(self.ask(coap.POST, "3300/0/4").code, coap.CHANGED)
        answer = self.ask(coap.POST, "3300")
        self.assertEqual((answer.code, answer.texts(coap.LOCATION_PATH)), (coap.CREATED, ["3300", "7"]))
        self.assertEqual(self.ask(coap.DELETE, "3300/7").code, coap.DELETED)
        self.assertEqual(self.counter.values, {0: 0})
        self.assertEqual(self.ask(coap.DELETE, "3300").code, coap.METHOD_NOT_ALLOWED)

    def test_blocks_of_a_package(self):
        first = self.ask(coap.PUT, "3300/0/2", b"a" * 64, CONTENT_FORMAT=42, BLOCK1=0 << 4 | 8 | 2)
        self.assertEqual((first.code, first.option(coap.BLOCK1)), (coap.CONTINUE, 8 | 2))
        last = self.ask(coap.PUT, "3300/0/2", b"b", CONTENT_FORMAT=42, BLOCK1=1 << 4 | 2)
        self.assertEqual((last.code, last.option(coap.BLOCK1)), (coap.CHANGED, 1 << 4 | 2))
        self.assertEqual(self.counter.blocks, [(0, b"a" * 64, True), (64, b"b", False)])

    def test_blocks_where_none_may_be(self):
        self.assertEqual(self.ask(coap.PUT, "3300/0/2", b"a", CONTENT_FORMAT=42, BLOCK1=7).code, coap.BAD_REQUEST)
        self.assertEqual(self.ask(coap.PUT, "3300/0/5700", b"1" * 16, BLOCK1=8).code, coap.TOO_LARGE)

    def test_a_large_answer_comes_in_blocks_of_one_moment(self):
        self.tree.objects[5] = Fixed(lambda instance: [(0, "x" * 2500), (1, self.counter.values[0])])
        got = b""
        for number in range(3):
            answer = self.ask(coap.GET, "5/0", BLOCK2=number << 4 | 6)
            self.assertEqual(answer.option(coap.BLOCK2) >> 4, number)
            got += answer.payload
            self.counter.values[0] += 1
        self.assertEqual(len(got), 2500 + 22)
        self.assertEqual(got[-1:], b"\x05")
        self.assertEqual(self.ask(coap.GET, "5/0", BLOCK2=9 << 4 | 6).code, coap.BAD_REQUEST)

    def test_smaller_blocks_than_the_device_would_send(self):
        self.tree.objects[5] = Fixed(lambda instance: [(0, "y" * 100)])
        got = b""
        for number in range(7):
            got += self.ask(coap.GET, "5/0/0", BLOCK2=number << 4).payload
        self.assertEqual(got, b"y" * 100)

    def test_links(self):
        answer = self.ask(coap.GET, "", ACCEPT=coap.LINK_FORMAT)
        self.assertEqual(answer.payload, b'</>;rt="oma.lwm2m";ct=112,</3/0>,</3300/0>')
        self.counter.values.clear()
        self.assertEqual(self.tree.links(), '</>;rt="oma.lwm2m";ct=112,</3/0>,</3300>')

    def test_unknown_critical_options_are_refused(self):
        message = Message(coap.CON, coap.GET, 1)
        message.add(9, b"x")
        self.assertEqual(self.server.handle(message, GATEWAY, 0).code, coap.BAD_OPTION)

    def test_a_fault_costs_one_answer(self):
        def fail(instance):
            raise RuntimeError("broken")

        def exhaust(instance):
            raise MemoryError

        self.tree.objects[5] = Fixed(fail)
        self.tree.objects[6] = Fixed(exhaust)
        self.assertEqual(self.ask(coap.GET, "5/0").code, coap.SERVER_ERROR)
        self.assertEqual(self.ask(coap.GET, "6/0").code, coap.UNAVAILABLE)
        self.assertEqual(self.ask(coap.GET, "3/0/21").code, coap.CONTENT)


class TestObservation(ServerTest):
    def observe(self, path, token=b"t"):
        return self.ask(coap.GET, path, token=token, OBSERVE=0)

    def change(self, value):
        self.counter.values[0] = value
        self.server.changed((3300, 0))
        self.server.flush(self.exchange, 0)

    def acknowledge(self, kind=coap.ACK):
        self.exchange.receive(Message(kind, coap.EMPTY, self.sent[-1].mid).encode(), GATEWAY, 0)

    def test_changes_are_notified_confirmably(self):
        self.assertEqual(self.observe("3300/0/5700").option(coap.OBSERVE), 0)
        self.change(6)
        note = self.sent[-1]
        self.assertEqual((note.kind, note.code, note.token, note.payload), (coap.CON, coap.CONTENT, b"t", b"6"))
        self.assertLess(0, note.option(coap.OBSERVE))

    def test_what_has_not_changed_is_not_notified(self):
        self.observe("3300/0/5700")
        self.change(5)
        self.assertEqual(self.sent, [])

    def test_only_what_is_observed_is_notified(self):
        self.observe("3/0")
        self.change(6)
        self.assertEqual(self.sent, [])
        self.observe("3300")
        self.change(7)
        self.assertEqual(len(self.sent), 1)

    def test_the_newest_state_travels_and_one_at_a_time(self):
        self.observe("3300/0/5700")
        for value in (6, 7, 8):
            self.change(value)
        self.assertEqual([note.payload for note in self.sent], [b"6"])
        self.acknowledge()
        self.server.flush(self.exchange, 0)
        self.assertEqual([note.payload for note in self.sent], [b"6", b"8"])

    def test_sequence_numbers_grow(self):
        self.observe("3300/0/5700")
        numbers = []
        for value in (6, 7, 8):
            self.change(value)
            numbers.append(self.sent[-1].option(coap.OBSERVE))
            self.acknowledge()
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_a_reset_ends_it(self):
        self.observe("3300/0/5700")
        self.change(6)
        self.acknowledge(coap.RST)
        self.change(7)
        self.assertEqual(len(self.sent), 1)
        self.assertFalse(self.server.observed)
        self.assertEqual(self.refusals, [True])

    def test_a_fault_ends_it_and_no_other(self):
        self.observe("3300/0/5700")
        self.observe("3/0/21", b"u")
        read = self.counter.read

        def fail(instance):
            raise RuntimeError("broken")

        self.counter.read = fail
        self.server.changed(None)
        self.server.flush(self.exchange, 0)
        self.assertEqual([note.code for note in self.sent], [coap.SERVER_ERROR])
        self.counter.read = read
        self.assertTrue(self.server.observed)

    def test_a_notification_for_which_there_is_no_memory_is_sent_later(self):
        self.observe("3300/0/5700")
        read = self.counter.read

        def exhaust(instance):
            raise MemoryError

        self.counter.read = exhaust
        self.server.changed(None)
        with self.assertRaises(MemoryError):
            self.server.flush(self.exchange, 0)
        self.counter.read = read
        self.counter.values[0] = 6
        self.server.flush(self.exchange, 0)
        self.assertEqual([note.payload for note in self.sent], [b"6"])

    def test_silence_ends_it(self):
        self.observe("3300/0/5700")
        self.change(6)
        now = 0
        while self.server.observed:
            now = self.exchange.poll(now) or now + 1000
            self.assertLess(now, 100000)
        self.assertEqual(len(self.sent), 5)

    def test_what_goes_away_is_notified_as_not_found(self):
        self.observe("3300/0/5700")
        del self.counter.values[0]
        self.server.changed((3300, 0))
        self.server.flush(self.exchange, 0)
        self.assertEqual(self.sent[-1].code, coap.NOT_FOUND)
        self.assertFalse(self.server.observed)

    def test_cancelling(self):
        self.observe("3300/0/5700")
        self.ask(coap.GET, "3300/0/5700", OBSERVE=1)
        self.assertFalse(self.server.observed)
        self.observe("3300/0/5700")
        self.server.cancel_all()
        self.assertFalse(self.server.observed)

    def test_observing_again_takes_the_place_of_the_observation_before(self):
        for number in range(100):
            answer = self.observe("3300/0/5700", bytes([number]))
            self.assertEqual(answer.option(coap.OBSERVE), number)  # numbers grow
        self.change(6)
        self.assertEqual([note.token for note in self.sent], [bytes([99])])
        self.assertLess(99, self.sent[0].option(coap.OBSERVE))

    def test_so_many_observations_and_no_more(self):
        self.counter.values = {number: number for number in range(50)}
        granted = [
            self.observe("3300/%d" % number, bytes([number])).option(coap.OBSERVE) is not None
            for number in range(50)
        ]
        self.assertLessEqual(20, granted.count(True))
        self.assertFalse(granted[-1])

    def test_notifications_wait_while_too_many_are_unanswered(self):
        self.counter.values = dict.fromkeys(range(10), 0)
        for number in range(10):
            self.observe("3300/%d/5700" % number, bytes([number]))
            self.counter.values[number] = 1
        self.server.changed((3300,))
        self.server.flush(self.exchange, 0)
        self.assertLess(len(self.sent), 10)
        heard = 0
        while heard < len(self.sent):
            self.exchange.receive(Message(coap.ACK, coap.EMPTY, self.sent[heard].mid).encode(), GATEWAY, 0)
            heard += 1
            self.server.flush(self.exchange, 0)
        self.assertEqual(heard, 10)
