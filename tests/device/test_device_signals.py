"""Emulated sensors. Portable: runs on CPython and MicroPython."""

import unittest

import rows
import scratch
import signals

HOUR_MS = 3600000


def make(kind, parameters=(), seed=1):
    return signals.make({"signal": kind, "parameters": parameters, "seed": seed})


class TestSignals(unittest.TestCase):
    def test_constant(self):
        signal = make("constant", [21.5])
        self.assertEqual((signal.at(0), signal.at(10**9), signal.read()), (21.5, 21.5, 21.5))

    def test_noise_has_its_mean_and_deviation(self):
        signal = make("noise", [20, 2])
        values = [signal.at(step * 100) for step in range(2000)]
        mean = sum(values) / 2000
        deviation = (sum([(value - mean) ** 2 for value in values]) / 2000) ** 0.5
        self.assertAlmostEqual(mean, 20, 0)
        self.assertAlmostEqual(deviation, 2, 0)

    def test_a_seed_repeats_and_another_does_not(self):
        for kind in ("noise", "daily"):
            first = [make(kind, (), 5).at(ms) for ms in range(0, 5000, 100)]
            self.assertEqual(first, [make(kind, (), 5).at(ms) for ms in range(0, 5000, 100)])
            self.assertNotEqual(first, [make(kind, (), 6).at(ms) for ms in range(0, 5000, 100)])

    def test_a_day(self):
        signal = make("daily", [18, 6])
        values = [signal.at(hour * HOUR_MS) for hour in range(24)]
        self.assertLess(min(values), 13)
        self.assertLess(23, max(values))
        coldest = values.index(min(values))
        warmest = values.index(max(values))
        self.assertIn((warmest - coldest) % 24, (11, 12, 13))
        self.assertAlmostEqual(values[0], signal.at(24 * HOUR_MS), 0)

    def test_a_short_day(self):
        signal = make("daily", [0, 10, 60])
        values = [signal.at(second * 1000) for second in range(60)]
        self.assertLess(min(values), -9)
        self.assertLess(9, max(values))

    def test_what_is_no_signal(self):
        for kind, parameters in (("square", ()), ("constant", (1, 2)), ("noise", ("x",))):
            with self.assertRaises(ValueError):
                make(kind, parameters)


class TestRows(unittest.TestCase):
    def setUp(self):
        self.folder = scratch.make()

    def tearDown(self):
        scratch.remove(self.folder)

    def make(self, text):
        scratch.write(self.folder + "/rows.csv", text)
        return rows.make({"folder": self.folder, "parameters": ["rows.csv"]})

    def test_rows_with_times(self):
        signal = self.make(b"seconds,value\n0,10\n1.5,11\n\n4,12\n")
        self.assertEqual([signal.at(ms) for ms in (0, 1499, 1500, 3999, 4000, 4999)], [10, 10, 11, 11, 12, 12])

    def test_the_file_begins_again(self):
        signal = self.make(b"0,10\n1,11\n")
        self.assertEqual([signal.at(ms) for ms in (1999, 2000, 3000, 3999, 4000)], [11, 10, 11, 11, 10])
        self.assertEqual(signal.at(1001 * 1000), 11)

    def test_one_value_a_second(self):
        signal = self.make(b"value\n1\n2\n3")
        self.assertEqual([signal.at(ms) for ms in (0, 1000, 2500, 3000)], [1, 2, 3, 1])

    def test_the_first_value_holds_from_the_start(self):
        self.assertEqual(self.make(b"5,10\n").at(0), 10)

    def test_going_back_begins_again(self):
        signal = self.make(b"1\n2\n")
        signal.at(10001)
        self.assertEqual(signal.at(0), 1)

    def test_a_file_without_rows(self):
        for text in (b"", b"time,value\n", b"\n\n"):
            with self.assertRaises(ValueError):
                self.make(text)
