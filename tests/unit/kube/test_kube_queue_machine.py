"""The work queue against a model of it, in virtual time, for any order of events."""

from __future__ import annotations

import asyncio

import looptime
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fita.base.backoff import Backoff
from fita.base.errors import FitaError
from fita.kube.queue import WorkQueue

KEYS = st.sampled_from("abcdefgh")
DELAYS = st.integers(min_value=1, max_value=20)


class WorkQueueMachine(RuleBasedStateMachine):
    """Every reconcile waits until a rule ends it, with success, a number or a failure.

    `owed` are the keys that were added and have not begun since; `due_at` is when a key must have begun at the
    latest where a worker is free.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop()
        self.under_way: dict[str, asyncio.Future[float | None]] = {}
        self.owed: set[str] = set()
        self.due_at: dict[str, float] = {}
        self.problems: list[str] = []
        self.workers = 1

    @initialize(workers=st.integers(min_value=1, max_value=5))
    def start(self, workers: int) -> None:
        self.workers = workers
        self.queue = WorkQueue(
            self.reconcile, workers=workers, name="m", backoff=lambda: Backoff(initial_s=2, limit_s=8, jitter=0)
        )
        self.logs = structlog.testing.capture_logs()
        self.logs.__enter__()
        self.task = self.loop.create_task(self.queue.run())
        self.settle()

    def settle(self, seconds: float = 0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))

    async def reconcile(self, key: str) -> float | None:
        if key in self.under_way:
            self.problems.append(f"{key} is worked on twice at a time")
        self.owed.discard(key)
        self.due_at.pop(key, None)
        self.under_way[key] = self.loop.create_future()
        try:
            return await self.under_way[key]
        finally:
            del self.under_way[key]

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.owed.add(key)
        self.queue.add(key)
        self.settle()

    @rule(key=KEYS, delay_s=DELAYS)
    def add_after(self, key: str, delay_s: int) -> None:
        async def call() -> None:
            self.queue.add_after(key, delay_s)

        at = self.loop.time() + delay_s
        self.due_at[key] = min(at, self.due_at.get(key, at))
        self.loop.run_until_complete(call())

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), result=st.none() | DELAYS)
    def succeed(self, data: st.DataObject, result: int | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.under_way)))
        if result is not None and key not in self.owed:
            at = self.loop.time() + result
            self.due_at[key] = min(at, self.due_at.get(key, at))
        self.under_way[key].set_result(result)
        self.settle()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.under_way)))
        if key not in self.owed:
            at = self.loop.time() + 8
            self.due_at[key] = min(at, self.due_at.get(key, at))
        self.under_way[key].set_exception(FitaError("not now"))
        self.settle()

    @rule(seconds=st.integers(min_value=1, max_value=30))
    def advance(self, seconds: int) -> None:
        self.settle(seconds)

    @rule()
    def restart(self) -> None:
        """What is under way is interrupted, and owed from then on."""
        self.owed |= set(self.under_way)
        self.task.cancel()
        self.loop.run_until_complete(asyncio.wait([self.task]))
        assert self.queue.running == 0
        self.task = self.loop.create_task(self.queue.run())
        self.settle()

    @invariant()
    def holds(self) -> None:
        assert not self.problems
        assert len(self.under_way) <= self.workers
        if not hasattr(self, "queue"):
            return
        assert self.queue.running == len(self.under_way)
        waits = self.owed - set(self.under_way)
        overdue = {key for key, at in self.due_at.items() if at <= self.loop.time()} - set(self.under_way)
        if len(self.under_way) < self.workers:
            # Retries may leave workers free for fresh keys, but what was asked for never waits for a free worker.
            assert not waits
            assert not overdue or len(self.queue) >= len(overdue)
        assert len(self.queue) >= len(waits)

    def teardown(self) -> None:
        try:
            if hasattr(self, "queue"):
                self.drain()
        finally:
            if hasattr(self, "queue"):
                self.task.cancel()
                self.loop.run_until_complete(asyncio.wait([self.task]))
                self.logs.__exit__(None, None, None)
            self.loop.close()

    def drain(self) -> None:
        """Whatever happened: everything that is owed gets done, and then nothing is left."""
        for _ in range(50):
            for future in list(self.under_way.values()):
                future.set_result(None)
            self.settle(30)
            if not (self.under_way or len(self.queue) or self.queue.delayed):
                break
        assert (len(self.queue), self.queue.running, self.queue.delayed) == (0, 0, 0)
        assert not self.owed
        assert not self.due_at


WorkQueueMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWorkQueueMachine = WorkQueueMachine.TestCase
