"""Runs several services side by side: starts, loops, stops them, and starts again what has failed.

Cooperative: a service runs until its function returns. Contains the faults of services, not their malice.
"""

from micropython import const
from runner import CRASHED, RUNNING, STARTING, Runner

_FIRST_DELAY_MS = const(1000)
_LAST_DELAY_MS = const(60000)


class Host:
    """`load(record)` gives a service's module; `clock()` the time in ms; `changed(instance)` is told of every
    change of phase, `settled(instance, error)` of the end of every start: error None when `setup` has returned.
    """

    def __init__(self, load, board, ports, clock, changed):
        self._load = load
        self._board = board
        self._ports = ports
        self.clock = clock
        self._changed = changed
        self.settled = None
        self.runners = {}
        self.memory_total = 0  # bytes that all services together may hold

    def memory_free(self, but=None):
        """Bytes that can be promised to another service, or to one in the place of the instance `but`.

        Each service counts with its quota or with what it holds, whichever is more.
        """
        return self._free(self.runners, but)

    def start(self, instance, record, quota):
        """Run a service from the next step on."""
        self.runners[instance] = Runner(instance, record, quota, self.clock())
        self._changed(instance)

    def stop(self, instance):
        """Stop and unload a service if it runs; its memory is free when this returns."""
        runner = self.runners.pop(instance, None)
        if runner is not None:
            runner.quit(self.clock())
            self._changed(instance)

    def stop_all(self):
        for instance in list(self.runners):
            self.stop(instance)

    def step(self):
        """Call every service that is due, once. The time of the next call, None when nothing will be due."""
        for runner in list(self.runners.values()):
            now = self.clock()
            if runner.inbox or runner.due is not None and runner.due <= now:
                self._advance(runner, now)
        first = None
        for runner in self.runners.values():
            due = self.clock() if runner.inbox else runner.due
            if due is not None and (first is None or due < first):
                first = due
        return first

    def relieve(self):
        """Crash the service with the most memory, because the device has none left; whether there was one."""
        largest = None
        for runner in self.runners.values():
            if runner.memory and (largest is None or runner.memory > largest.memory):
                largest = runner
        if largest is not None:
            self._crash(largest, "stopped with %d bytes: the device is out of memory" % largest.memory)
        return largest is not None

    def _advance(self, runner, now):
        if runner.phase != RUNNING:
            self._begin(runner, now)
            return
        if runner.inbox:
            error = runner.deliver(now)
        else:
            error = runner.loop(now)
            if error is None:
                error = self._schedule(runner)
        if error is not None:
            self._crash(runner, error)

    def _begin(self, runner, now):
        if runner.phase == CRASHED:
            runner.restarts += 1
        self._enter(runner, STARTING)
        running = [other for other in self.runners if self.runners[other].phase == RUNNING]
        free = self._free(running, runner.instance)
        if runner.quota > free:
            error = "out of memory: needs %d bytes, %d are free" % (runner.quota, free)
        else:
            error = runner.setup(self._load, self._board, self._ports, now)
        if error is None:
            runner.due = self.clock() if runner.loops else None
            self._enter(runner, RUNNING)
        else:
            self._crash(runner, error)
        self.settled(runner.instance, error)

    def _schedule(self, runner):
        """Set the time of the next `loop`: after the interval, at once when that has passed already."""
        try:
            runner.due = max(runner.due + runner.interval_ms, self.clock() + 1)
        except (TypeError, ValueError):
            return "interval_ms is not a number"

    def _crash(self, runner, error):
        """Unload a failed service; it starts again after a delay that doubles while it keeps failing."""
        now = self.clock()
        if runner.phase == RUNNING and now - runner.since > _LAST_DELAY_MS:
            runner.delay_ms = 0
        runner.unload()
        runner.error = error
        runner.log.add(error)
        runner.delay_ms = min(max(runner.delay_ms * 2, _FIRST_DELAY_MS), _LAST_DELAY_MS)
        runner.due = now + runner.delay_ms
        self._enter(runner, CRASHED)

    def _free(self, instances, but):
        free = self.memory_total
        for instance in instances:
            if instance != but:
                free -= self.runners[instance].promised
        return max(free, 0)

    def _enter(self, runner, phase):
        if runner.phase != phase:
            runner.phase = phase
            runner.since = self.clock()
            self._changed(runner.instance)
