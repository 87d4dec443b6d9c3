"""One service: what it is, where it stands, what it costs. Calls its functions contained and metered."""

import gc
import io
import sys
import time

from log import Log
from micropython import const
from service import Service

INSTALLING = "installing"
STOPPED = "stopped"
STARTING = "starting"
RUNNING = "running"
CRASHED = "crashed"

_MEASURE_MS = const(200)
_CPU_WINDOW_MS = const(5000)
_ERROR_CHARACTERS = const(160)


class Runner:
    """`quota` is the memory in bytes that the service may hold, its code included."""

    def __init__(self, instance, record, quota, now):
        self.instance = instance
        self.record = record
        self.quota = quota
        self.phase = STARTING
        self.error = ""
        self.restarts = 0
        self.memory = 0
        self.since = now  # when it became what it is now
        self.due = now
        self.delay_ms = 0
        self.inbox = {}  # the newest value that was written to each input and is not delivered yet
        self.log = Log(record["header"]["name"])
        self._module = None
        self._service = None
        self._measured = now - _MEASURE_MS
        self._unmeasured = 0
        self._busy_us = 0
        self._window = now
        self._cpu = 0.0

    @property
    def promised(self):
        """Bytes that nobody else may count on."""
        return max(self.quota, self.memory)

    @property
    def interval_ms(self):
        """The time between two calls of `loop` that the service wants."""
        return max(int(self._service.interval_ms), 1)

    @property
    def loops(self):
        return self._function("loop") is not None

    def setup(self, load, board, ports, now):
        """Load the code and run `setup`; the error in words, None when all went well."""
        self._measured = now - _MEASURE_MS
        return self._call(now, self._setup, load, board, ports)

    def loop(self, now):
        return self._call(now, self._function("loop"), self._service)

    def deliver(self, now):
        """Give the service one of the values in `inbox`."""
        key, value = self.inbox.popitem()
        function = self._function("on_input")
        return self._call(now, function, self._service, key, value) if function else None

    def quit(self, now):
        """Let the service say goodbye, then unload it."""
        function = self._function("on_quit")
        error = self._call(now, function, self._service) if function else None
        if error:
            self.log.add(error)
        self.unload()

    def unload(self):
        """Drop the code and all that hangs on it."""
        if self._service is not None:
            self._service.close()
        self._module = self._service = None
        self.inbox.clear()
        self.memory = 0
        gc.collect()

    def cpu_percent(self, now):
        """The share of time the service was executing, over at least the last five seconds."""
        elapsed = now - self._window
        if elapsed >= _CPU_WINDOW_MS or not self._cpu and elapsed:
            self._cpu = self._busy_us / elapsed / 10
        if elapsed >= _CPU_WINDOW_MS:
            self._window = now
            self._busy_us = 0
        return self._cpu

    def _function(self, name):
        return getattr(self._module, name, None)

    def _setup(self, load, board, ports):
        self._module = load(self.record)
        if not self._function("setup") and not self._function("loop"):
            raise ValueError("the service has neither setup nor loop")
        self._service = Service(
            self.instance, self.record["header"], board, ports, self.inbox.__setitem__, self.log
        )
        if self._function("setup"):
            self._function("setup")(self._service)

    def _call(self, now, function, *arguments):
        """Call into the service; the error in words, None without one.

        Memory is measured exactly, between two collections, but in at most five calls a second: what a measured
        call keeps also counts for the calls since the one before.
        """
        measure = now - self._measured >= _MEASURE_MS
        if measure:
            gc.collect()
            before = gc.mem_alloc()
        start = time.ticks_us()
        error = None
        try:
            function(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as exception:  # sys.exit too must not end the device
            error = describe(exception)
        self._busy_us += time.ticks_diff(time.ticks_us(), start)
        if not measure:
            self._unmeasured += 1
            return error
        gc.collect()
        self.memory = max(self.memory + (gc.mem_alloc() - before) * (1 + self._unmeasured), 0)
        self._measured = now
        self._unmeasured = 0
        if error is None and self.memory > self.quota:
            error = "out of memory: %d bytes of %d" % (self.memory, self.quota)
        return error


def describe(exception):
    """An exception in words: its type, what it says, and where it came from."""
    text = type(exception).__name__
    gc.collect()
    try:
        if str(exception):
            text = "%s: %s" % (text, exception)
        trace = io.StringIO()
        sys.print_exception(exception, trace)
        places = [line for line in trace.getvalue().split("\n") if line.startswith("  File ")]
        if places:
            text += " (" + places[-1][7:].replace('"', "") + ")"
    except Exception:  # no memory for more words, or the service's own __str__ fails
        gc.collect()
    return text[:_ERROR_CHARACTERS]
