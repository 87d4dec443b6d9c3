"""Values on the wire. Portable: runs on CPython and MicroPython."""

import unittest

import senml


class TestSenml(unittest.TestCase):
    def test_one_record(self):
        data = senml.encode("/3303/0/", [("5700", 21.5)])
        self.assertEqual(bytes(data), b"\x81\xa3\x21\x68/3303/0/\x00\x645700\x02\xfa\x41\xac\x00\x00")

    def test_the_base_name_comes_once(self):
        data = senml.encode("/9/", [("1000/7", 4), ("1000/12", True), ("1000/0", "average")])
        self.assertEqual(
            bytes(data),
            b"\x83\xa3\x21\x63/9/\x00\x661000/7\x02\x04\xa2\x00\x671000/12\x04\xf5\xa2\x00\x661000/0\x03\x67average",
        )

    def test_integers_of_every_length(self):
        for value, expected in (
            (0, b"\x00"),
            (23, b"\x17"),
            (24, b"\x18\x18"),
            (255, b"\x18\xff"),
            (256, b"\x19\x01\x00"),
            (65536, b"\x1a\x00\x01\x00\x00"),
            (1 << 32, b"\x1b\x00\x00\x00\x01\x00\x00\x00\x00"),
            (-1, b"\x20"),
            (-25, b"\x38\x18"),
        ):
            self.assertEqual(bytes(senml.encode("", [("", value)])), b"\x81\xa3\x21\x60\x00\x60\x02" + expected)

    def test_a_float_is_as_long_as_it_must_be(self):
        self.assertEqual(bytes(senml.encode("", [("", 0.5)]))[7:], b"\xfa\x3f\x00\x00\x00")
        self.assertEqual(len(senml.encode("", [("", 0.1)])), 7 + 9)
        self.assertEqual(bytes(senml.encode("", [("", float("nan"))]))[7:8], b"\xfa")
        self.assertEqual(len(senml.encode("", [("", 1e300)])), 7 + 9)

    def test_links_and_bytes(self):
        self.assertEqual(bytes(senml.encode("", [("", senml.Link(9, 1000))]))[6:], b"\x63vlo\x669:1000")
        self.assertEqual(bytes(senml.encode("", [("", b"\x00\x01")]))[6:], b"\x08\x42\x00\x01")


class TestText(unittest.TestCase):
    def test_values_as_text(self):
        for value, expected in (
            (True, b"1"),
            (False, b"0"),
            (-5, b"-5"),
            (2.5, b"2.5"),
            ("a", b"a"),
            (b"\x00", b"\x00"),
            (senml.Link(3, 0), b"3:0"),
        ):
            self.assertEqual(senml.to_text(value), expected)

    def test_numbers_from_text(self):
        self.assertEqual(senml.number(b"-12", False), -12)
        self.assertEqual(senml.number(b"1e3", True), 1000.0)
        for payload in (b"", b"x", b"1.5", b"\xff"):
            with self.assertRaises(ValueError):
                senml.number(payload, False)
