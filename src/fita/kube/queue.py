"""A work queue of keys: what to look at again, not what happened.

A key that is added many times before its turn comes is worked on once; one that is added while it is worked on is
worked on again afterwards. State is read at work time by `reconcile`, which must not write when nothing differs: a
change is a reason to try again at once, whatever the backoff says.

Failed keys come back after a jittered backoff in a lane of their own. Fresh keys go before them, and failed keys
never occupy all workers, so that a thousand devices that time out do not keep one that works waiting.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import structlog

from fita.base.backoff import Backoff
from fita.base.errors import FitaError

log = structlog.get_logger(__name__)

FRESH_PER_RETRY = 8
"""So many fresh keys may go before a failed one that is due: it is worked on even when fresh ones never end."""

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Failing:
    """A key that failed the last time: when it comes back, and what has been logged about it."""

    backoff: Backoff
    logged: str = ""


class _Timer(NamedTuple):
    handle: asyncio.TimerHandle
    retry: bool


class WorkQueue(Generic[K]):
    """Calls `reconcile` for keys, at most `workers` at a time and one at a time per key.

    `reconcile` returns None when it is done, or in how many seconds to call it again. When it raises, the key
    comes back after a backoff of its own. It owns the deadlines of what it does. `name` is for the log.
    """

    def __init__(
        self,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        workers: int,
        name: str,
        backoff: Callable[[], Backoff] | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError("a work queue needs a worker")
        self._reconcile = reconcile
        self._workers = workers
        self._retry_workers = max(1, workers - max(1, workers // 4))
        rng = random.Random()  # one for all keys: each takes 2.5 kB
        self._new_backoff = backoff or partial(Backoff, initial_s=0.5, limit_s=60, jitter=0.3, rng=rng)
        self._log = log.bind(queue=name)
        # The keys that are due, in order: dicts are sets that remember the order.
        self._fresh: dict[K, None] = {}
        self._retries: dict[K, None] = {}
        self._fresh_in_row = 0
        self._timers: dict[K, _Timer] = {}
        self._running: dict[K, bool] = {}  # whether it is a retry
        self._again: set[K] = set()  # added while they were running
        self._failing: dict[K, _Failing] = {}
        self._group: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        """How many keys are due and wait for a worker."""
        return len(self._fresh) + len(self._retries)

    @property
    def running(self) -> int:
        """How many keys are worked on now."""
        return len(self._running)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time: after `add_after`, a returned number, or a failure."""
        return len(self._timers)

    def add(self, key: K) -> None:
        """Work on `key` as soon as there is a worker, also when it failed just now."""
        if (timer := self._timers.get(key)) is not None and timer.retry:
            self._stop_timer(key)
        if key in self._running:
            self._again.add(key)
            return
        self._retries.pop(key, None)
        self._fresh.setdefault(key)
        self._dispatch()

    def add_after(self, key: K, delay_s: float) -> None:
        """Work on `key` in `delay_s` seconds, or sooner when it waits already. Needs a running event loop."""
        if delay_s <= 0:
            self.add(key)
        else:
            self._start_timer(key, delay_s, retry=False)

    async def run(self) -> None:
        """Work, for ever. Keys may be added before. What cancellation interrupts is due again at the next run."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    self._dispatch()
                    await asyncio.Event().wait()
                finally:
                    self._group = None
        finally:
            self._fresh |= dict.fromkeys(self._running)  # cancelled before they began
            self._running.clear()

    def _due(self, key: K) -> None:
        if not self._timers.pop(key).retry:
            self.add(key)
        else:  # neither due nor running: `add` would have stopped the timer
            self._retries.setdefault(key)
            self._dispatch()

    def _start_timer(self, key: K, delay_s: float, *, retry: bool) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.handle.when() <= loop.time() + delay_s:
            return
        self._stop_timer(key)
        self._timers[key] = _Timer(loop.call_later(delay_s, self._due, key), retry)

    def _stop_timer(self, key: K) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.handle.cancel()

    def _dispatch(self) -> None:
        """Give due keys to free workers."""
        while self._group is not None and len(self._running) < self._workers:
            if self._takes_retry():
                key, retry = next(iter(self._retries)), True
                del self._retries[key]
                self._fresh_in_row = 0
            elif self._fresh:
                key, retry = next(iter(self._fresh)), False
                del self._fresh[key]
                self._fresh_in_row = self._fresh_in_row + 1 if self._retries else 0
            else:
                return
            self._running[key] = retry
            self._group.create_task(self._work(key), name=str(key))

    def _takes_retry(self) -> bool:
        if not self._retries or sum(self._running.values()) >= self._retry_workers:
            return False
        return not self._fresh or self._fresh_in_row >= FRESH_PER_RETRY

    async def _work(self, key: K) -> None:
        again_after_s: float | None = None
        try:
            again_after_s = await self._reconcile(key)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._again.add(key)
                raise
            self._failed(key, RuntimeError(f"something that it waited for was cancelled: {error}"))
        except Exception as error:
            self._failed(key, error)
        else:
            self._failing.pop(key, None)
        finally:
            del self._running[key]
            self._finished(key, again_after_s)

    def _finished(self, key: K, again_after_s: float | None) -> None:
        if key in self._again:
            self._again.discard(key)
            self.add(key)
            return
        if again_after_s is not None:
            self.add_after(key, again_after_s)
        self._dispatch()

    def _failed(self, key: K, error: Exception) -> None:
        if (failing := self._failing.get(key)) is None:
            failing = self._failing[key] = _Failing(self._new_backoff())
        delay_s = failing.backoff.next_s()
        self._start_timer(key, delay_s, retry=True)
        told = {"key": str(key), "attempt": failing.backoff.attempts, "retry_s": round(delay_s, 1)}
        if not isinstance(error, FitaError):
            self._log.error("reconcile broke", **told, exc_info=error)
            return
        # Once per reason: a thousand keys that wait for the same server are no news every minute.
        log_it = self._log.debug if failing.logged == str(error) else self._log.warning
        log_it("reconcile failed", **told, error=str(error))
        failing.logged = str(error)
