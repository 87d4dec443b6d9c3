"""CoAP messages on the device. Portable: runs on CPython and MicroPython."""

import unittest

import coap


class TestMessage(unittest.TestCase):
    def test_a_request_with_all_that_it_may_carry(self):
        message = coap.Message(coap.CON, coap.PUT, 0x1234, b"\x01\x02", b"hi")
        message.add(coap.URI_PATH, "3303")
        message.add(coap.URI_PATH, "0")
        message.add(coap.CONTENT_FORMAT, 42)
        message.add(coap.BLOCK1, 0x1E)
        expected = b"\x42\x03\x12\x34\x01\x02" + b"\xb43303" + b"\x010" + b"\x11\x2a" + b"\xd1\x02\x1e" + b"\xffhi"
        self.assertEqual(message.encode(), expected)

    def test_decoding_gives_back_what_was_encoded(self):
        message = coap.Message(coap.NON, coap.CONTENT, 65535, b"12345678", b"\x00" * 1024)
        message.add(coap.OBSERVE, 0x010203)
        message.add(coap.URI_QUERY, "x" * 300)
        message.add(2000, b"y" * 14)
        found = coap.decode(message.encode())
        self.assertEqual((found.kind, found.code, found.mid), (coap.NON, coap.CONTENT, 65535))
        self.assertEqual((found.token, found.payload), (b"12345678", b"\x00" * 1024))
        self.assertEqual(found.options, message.options)

    def test_options_of_one_number_keep_their_order(self):
        message = coap.Message(coap.CON, coap.POST, 1)
        for text in ("9", "1000", "2", "4", "7"):
            message.add(coap.URI_PATH, text)
            message.add(coap.URI_QUERY, text)
        self.assertEqual(coap.decode(message.encode()).texts(coap.URI_PATH), ["9", "1000", "2", "4", "7"])

    def test_an_option_of_zero_is_empty(self):
        message = coap.Message(coap.CON, coap.GET, 1)
        message.add(coap.OBSERVE, 0)
        self.assertEqual(message.options, [(coap.OBSERVE, b"")])
        self.assertEqual(message.option(coap.OBSERVE), 0)
        self.assertIsNone(message.option(coap.BLOCK1))

    def test_every_truncation_is_refused_or_a_shorter_message(self):
        message = coap.Message(coap.CON, coap.GET, 1, b"1234", b"payload")
        message.add(coap.URI_PATH, "abc")
        message.add(coap.URI_QUERY, "q" * 20)
        data = message.encode()
        for end in range(len(data)):
            try:
                found = coap.decode(data[:end])
            except ValueError:
                continue
            self.assertLess(len(found.payload) + len(found.options), 10)

    def test_no_messages(self):
        for data in (
            b"",
            b"\x40\x01\x00",
            b"\x80\x01\x00\x01",  # version 2
            b"\x49\x01\x00\x01" + b"t" * 9,  # a token of nine bytes
            b"\x41\x00\x00\x01t",  # empty, but with a token
            b"\x40\x01\x00\x01\xff",  # a marker without payload
            b"\x40\x01\x00\x01\xf0",  # reserved option delta
            b"\x40\x01\x00\x01\x0f",  # reserved option length
            b"\x40\x01\x00\x01\xd0",  # an extended delta that is missing
            b"\x40\x01\x00\x01\x05abc",  # an option that is longer than the datagram
        ):
            with self.assertRaises(ValueError):
                coap.decode(data)

    def test_critical_options_that_are_not_known(self):
        message = coap.Message(coap.CON, coap.GET, 1)
        message.add(coap.URI_PATH, "3")
        message.add(60, 1)
        self.assertIsNone(message.unknown_critical())
        message.add(9, b"oscore")
        self.assertEqual(message.unknown_critical(), 9)
