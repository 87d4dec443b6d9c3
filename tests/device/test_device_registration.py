"""Register, update, deregister. Portable: runs on CPython and MicroPython."""

import unittest

import coap
from coap import Message
from exchange import Exchange
from objects import Fixed, Tree
from registration import Registration

GATEWAY = ("192.0.2.1", 5683)


class RegistrationTest(unittest.TestCase):
    def setUp(self):
        self.sent = []
        self.registered = 0
        self.reports = []
        self.resolvable = True
        self.tree = Tree()
        self.tree.objects[3] = Fixed(lambda instance: [])
        self.exchange = Exchange(lambda datagram, address: self.sent.append(coap.decode(datagram)), None)
        self.registration = Registration(
            self.exchange, self.tree, "b1_node1", 60, self.resolve, self.on_registered, self.reports.append
        )

    def resolve(self):
        if not self.resolvable:
            raise OSError(-2)
        return GATEWAY

    def on_registered(self):
        self.registered += 1

    def answer(self, code, now=0, location=""):
        request = self.sent[-1]
        message = Message(coap.ACK, code, request.mid, request.token)
        for segment in location.split("/") if location else ():
            message.add(coap.LOCATION_PATH, segment)
        self.exchange.receive(message.encode(), GATEWAY, now)

    def register(self, now=0):
        self.registration.poll(now)
        self.answer(coap.CREATED, now, "rd/5a")

    def delay_until_next(self, now):
        """Poll like the main loop until something is sent; how long that took."""
        count = len(self.sent)
        due = now
        while len(self.sent) == count:
            due = max(self.registration.poll(due) or due + 1, due + 1)
            self.assertLess(due - now, 400000)
        return due - now


class TestRegistration(RegistrationTest):
    def test_the_request(self):
        self.registration.poll(0)
        request = self.sent[0]
        self.assertEqual((request.kind, request.code), (coap.CON, coap.POST))
        self.assertEqual(request.texts(coap.URI_PATH), ["rd"])
        self.assertEqual(request.texts(coap.URI_QUERY), ["ep=b1_node1", "lt=60", "lwm2m=1.1", "b=U"])
        self.assertEqual(request.option(coap.CONTENT_FORMAT), coap.LINK_FORMAT)
        self.assertEqual(request.payload, b'</>;rt="oma.lwm2m";ct=112,</3/0>')

    def test_an_update_at_half_the_lifetime(self):
        self.register()
        self.assertTrue(self.registration.registered)
        self.assertEqual(self.registered, 1)
        self.assertEqual(self.registration.poll(29999), 30000)
        self.registration.poll(30000)
        update = self.sent[-1]
        self.assertEqual((len(self.sent), update.texts(coap.URI_PATH)), (2, ["rd", "5a"]))
        self.assertEqual((update.payload, update.options[-1][0]), (b"", coap.URI_PATH))
        self.answer(coap.CHANGED, 30000)
        self.assertEqual(self.registration.poll(30001), 60000)

    def test_other_objects_are_told_at_once(self):
        self.register()
        self.tree.objects[9] = Fixed(lambda instance: [])
        self.tree.version += 1
        self.registration.poll(100)
        self.assertIn(b"</9/0>", bytes(self.sent[-1].payload))
        self.tree.version += 1  # while the update is under way
        self.answer(coap.CHANGED, 100)
        self.registration.poll(101)
        self.assertEqual(len(self.sent), 3)

    def test_a_server_that_does_not_know_the_device_any_more(self):
        self.register()
        self.registration.poll(30000)
        self.answer(coap.NOT_FOUND, 30000)
        self.assertFalse(self.registration.registered)
        self.registration.poll(30000)
        self.assertEqual(self.sent[-1].texts(coap.URI_PATH), ["rd"])
        self.answer(coap.CREATED, 30000, "rd/6")
        self.assertEqual(self.registered, 2)

    def test_a_silent_server_is_asked_with_growing_delays(self):
        self.registration.poll(0)
        now = 0
        delays = []
        for _ in range(12):
            while not self.reports:
                self.registration.poll(now)
                now = max(self.exchange.poll(now) or now, now + 1)
            self.reports.clear()
            delays.append(self.delay_until_next(now))
            now += delays[-1]
        self.assertLess(delays[0], 2002)
        self.assertLess(149999, max(delays))
        self.assertLess(max(delays), 300002)

    def test_a_device_that_is_not_enrolled_tries_again(self):
        self.registration.poll(0)
        self.answer(coap.FORBIDDEN)
        self.assertIn("enrol", self.reports[0])
        self.assertLess(self.delay_until_next(0), 2002)
        self.answer(coap.CREATED, 0, "rd/1")
        self.assertTrue(self.registration.registered)

    def test_a_name_that_cannot_be_resolved(self):
        self.resolvable = False
        self.registration.poll(0)
        self.assertEqual(self.sent, [])
        self.assertIn("resolve", self.reports[0])
        self.resolvable = True
        self.assertLess(self.delay_until_next(0), 2002)

    def test_the_delay_starts_anew_after_a_success(self):
        now = 0
        for _ in range(5):
            now += self.delay_until_next(now)
            self.answer(coap.FORBIDDEN, now)
        delay = self.delay_until_next(now)
        self.assertLess(8000, delay)
        now += delay
        self.answer(coap.CREATED, now, "rd/1")
        now += 40000
        self.registration.poll(now)
        self.answer(coap.NOT_FOUND, now)
        self.registration.poll(now)
        self.answer(coap.FORBIDDEN, now)
        self.assertLess(self.delay_until_next(now), 2002)

    def test_another_lifetime(self):
        self.register()
        self.registration.set_lifetime(120)
        self.registration.poll(10)
        self.assertEqual(self.sent[-1].texts(coap.URI_QUERY), ["lt=120"])
        self.answer(coap.CHANGED, 10)
        self.assertEqual(self.registration.poll(11), 60010)

    def test_an_update_that_is_asked_for(self):
        self.register()
        self.registration.trigger()
        self.registration.poll(10)
        self.assertEqual(len(self.sent), 2)
        self.answer(coap.NOT_FOUND, 10)
        self.registration.poll(10)
        self.answer(coap.FORBIDDEN, 10)
        self.registration.trigger()  # no reason to ask again before the delay has passed
        self.registration.poll(11)
        self.assertEqual(len(self.sent), 3)

    def test_goodbye(self):
        done = []
        self.register()
        self.registration.close(5, lambda: done.append(True))
        self.assertEqual((self.sent[-1].code, self.sent[-1].texts(coap.URI_PATH)), (coap.DELETE, ["rd", "5a"]))
        self.assertEqual(done, [])
        self.answer(coap.DELETED)
        self.assertEqual(done, [True])
        self.registration.poll(100000)
        self.assertEqual(len(self.sent), 2)

    def test_no_goodbye_from_who_is_not_registered(self):
        done = []
        self.registration.close(0, lambda: done.append(True))
        self.assertEqual((done, self.sent), ([True], []))
