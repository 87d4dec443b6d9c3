"""Packages as they arrive. Portable: runs on CPython and MicroPython."""

import unittest
from hashlib import sha256

import result
import sample
from package import PackageReader
from result import PackageError


class Target:
    """Takes what a reader passes on."""

    def __init__(self):
        self.headers = []
        self.code = b""
        self.reader = PackageReader(self.headers.append, self.write)

    def write(self, part):
        self.code += part

    def feed(self, data, size):
        for _, part, _ in sample.blocks(data, size):
            self.reader.feed(part)
        return self.reader.finish()


class TestPackageReader(unittest.TestCase):
    def refused(self, data, size=64):
        with self.assertRaises(PackageError) as caught:
            Target().feed(data, size)
        self.assertTrue(caught.exception.text)
        return caught.exception.result

    def test_blocks_of_any_size(self):
        data = sample.package()
        for size in (1, 3, 5, 16, 64, 100, 1024, len(data)):
            target = Target()
            digest = target.feed(data, size)
            self.assertEqual(target.code, sample.CODE)
            self.assertEqual(len(target.headers), 1)
            self.assertEqual(target.headers[0]["name"], "average")
            self.assertEqual(
                bytes([int(digest[i : i + 2], 16) for i in range(0, 64, 2)]), sha256(sample.CODE).digest()
            )

    def test_every_damaged_byte_is_noticed(self):
        data = sample.package()
        for at in range(0, len(data), 7):
            damaged = bytearray(data)
            damaged[at] ^= 0x55
            self.assertIn(self.refused(damaged), (result.INTEGRITY_FAILED, result.UNSUPPORTED))

    def test_truncated_or_longer(self):
        data = sample.package()
        for end in (0, 2, 5, 6, 50, len(data) - 33, len(data) - 1):
            self.assertEqual(self.refused(data[:end]), result.INTEGRITY_FAILED)
        self.assertEqual(self.refused(data + b"x"), result.INTEGRITY_FAILED)

    def test_other_formats(self):
        self.assertEqual(self.refused(sample.package(format_version=2)), result.UNSUPPORTED)
        self.assertEqual(self.refused(b"\x7fELF" + bytes(100)), result.UNSUPPORTED)
        self.assertEqual(self.refused(b"FSP\x01\xff\xff" + bytes(100)), result.UNSUPPORTED)

    def test_headers_with_wrong_fields(self):
        for changes in (
            {"id": 5},
            {"digest": None},
            {"name": ["x"]},
            {"version": "1"},
            {"api": -1},
            {"mem": 1.5},
            {"size": -1},
            {"env": []},
            {"out": {}},
            {"out": [["key", 2, "", ""]]},
            {"out": [["key", 0, ""]]},
            {"in": [[1, 0, "", ""]]},
        ):
            self.assertEqual(self.refused(sample.package(**changes)), result.UNSUPPORTED)

    def test_headers_that_are_no_objects(self):
        for text, expected in ((b"[]", result.UNSUPPORTED), (b"{", result.INTEGRITY_FAILED)):
            data = b"FSP\x01\x00" + bytes([len(text)]) + text
            self.assertEqual(self.refused(data), expected)
