"""As much of CPython's unittest as the device's tests use, for MicroPython, which has none."""

import sys


class _Raises:
    def __init__(self, expected):
        self._expected = expected
        self.exception = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            raise AssertionError("%s was not raised" % self._expected.__name__)
        self.exception = error
        return issubclass(kind, self._expected)


class TestCase:
    def setUp(self):
        pass

    def tearDown(self):
        pass

    def fail(self, text):
        raise AssertionError(text)

    def assertTrue(self, value):
        if not value:
            self.fail("%r is not true" % (value,))

    def assertFalse(self, value):
        if value:
            self.fail("%r is not false" % (value,))

    def assertEqual(self, first, second):
        if first != second:
            self.fail("%r != %r" % (first, second))

    def assertNotEqual(self, first, second):
        if first == second:
            self.fail("both are %r" % (first,))

    def assertIn(self, item, container):
        if item not in container:
            self.fail("%r is not in %r" % (item, container))

    def assertNotIn(self, item, container):
        if item in container:
            self.fail("%r is in %r" % (item, container))

    def assertIsNone(self, value):
        if value is not None:
            self.fail("%r is not None" % (value,))

    def assertIsNotNone(self, value):
        if value is None:
            self.fail("it is None")

    def assertLess(self, first, second):
        if not first < second:
            self.fail("%r is not less than %r" % (first, second))

    def assertLessEqual(self, first, second):
        if not first <= second:
            self.fail("%r is more than %r" % (first, second))

    def assertAlmostEqual(self, first, second, places):
        if round(abs(first - second), places):
            self.fail("%r is not almost %r" % (first, second))

    def assertRaises(self, expected):
        return _Raises(expected)


def run(names):
    """Run the tests of the modules `names`; the number of tests, and of those that failed."""
    total = failed = 0
    for name in names:
        module = __import__(name)
        for attribute in sorted(dir(module)):
            kind = getattr(module, attribute)
            if isinstance(kind, type) and issubclass(kind, TestCase) and kind is not TestCase:
                for method in sorted(dir(kind)):
                    if method.startswith("test"):
                        total += 1
                        failed += _run(name, kind, method)
    return total, failed


def _run(name, kind, method):
    """1 when the test fails."""
    case = kind()
    try:
        case.setUp()
        try:
            getattr(case, method)()
        finally:
            case.tearDown()
    except Exception as error:
        print("FAILED %s.%s.%s" % (name, kind.__name__, method))
        sys.print_exception(error)
        return 1
    return 0
