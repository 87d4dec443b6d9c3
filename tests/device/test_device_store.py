"""Services in flash, and the power going at every moment. Portable: runs on CPython and MicroPython."""

import os
import unittest

import scratch
from store import Store

RECORD = {"code": "s1000a.mpy", "active": True}


class TestStore(unittest.TestCase):
    def setUp(self):
        self.folder = scratch.make()
        self.services = self.folder + "/services"

    def tearDown(self):
        scratch.remove(self.folder)

    def open(self, capacity=10000):
        return Store(self.services, capacity)

    def files(self):
        return sorted(os.listdir(self.services))

    def test_what_is_saved_is_there_after_a_restart(self):
        store = self.open()
        scratch.write(store.path("s1000a.mpy"), b"code")
        store.save(1000, RECORD)
        again = self.open()
        self.assertEqual(again.instances(), [1000])
        self.assertEqual(again.load(1000), RECORD)
        self.assertEqual(self.files(), ["s1000.json", "s1000a.mpy"])

    def test_what_nothing_names_is_removed(self):
        store = self.open()
        scratch.write(store.path("s1000a.mpy"), b"code")
        store.save(1000, RECORD)
        for name in ("new.tmp", "s1000b.mpy", "s1001a.mpy", "other"):
            scratch.write(store.path(name), b"left over")
        self.open()
        self.assertEqual(self.files(), ["s1000.json", "s1000a.mpy"])

    def test_the_code_before_an_update_stays_until_it_is_settled(self):
        store = self.open()
        for name in ("s1000a.mpy", "s1000b.mpy"):
            scratch.write(store.path(name), b"code")
        store.save(1000, {"code": "s1000b.mpy", "active": True, "previous": RECORD})
        self.open()
        self.assertEqual(self.files(), ["s1000.json", "s1000a.mpy", "s1000b.mpy"])
        store.remove(1000)
        self.assertEqual(self.files(), [])

    def test_a_damaged_record_costs_its_service_only(self):
        store = self.open()
        for instance in (1000, 1001):
            name = "s%da.mpy" % instance
            scratch.write(store.path(name), b"code")
            store.save(instance, {"code": name, "active": True})
        for damaged in (b"{", b"", b"{}", b"[]", b"5"):
            scratch.write(store.path("s1000.json"), damaged)
            self.assertEqual(self.open().instances(), [1001])
            self.assertEqual(self.files(), ["s1001.json", "s1001a.mpy"])

    def test_removing_leaves_nothing(self):
        store = self.open()
        scratch.write(store.path("s1000a.mpy"), b"code")
        store.save(1000, RECORD)
        store.remove(1000)
        self.assertEqual(self.files(), [])
        store.discard("s1000a.mpy")

    def test_free_space(self):
        store = self.open(1000)
        self.assertEqual(store.free(), 1000)
        scratch.write(store.path("s1000a.mpy"), bytes(400))
        self.assertEqual(store.free(), 600)
        scratch.write(store.path("s1001a.mpy"), bytes(700))
        self.assertEqual(store.free(), 0)

    def test_the_digest_of_a_file(self):
        store = self.open()
        scratch.write(store.path("x"), b"abc" * 500)
        self.assertEqual(store.digest("x"), "dcb99b805d39fa09ce52761034db36548893a8c437990e2bc3f1efa8717417fe")

    def test_code_that_was_changed_is_not_loaded(self):
        store = self.open()
        scratch.write(store.path("s1000a.mpy"), b"abc")
        with self.assertRaises(OSError):
            store.module({"code": "s1000a.mpy", "sha256": "00"})
