"""One operation at a time: a device gets what several callers want in the order in which they asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fita.lwm2m.errors import DeviceBusyError, SessionClosedError

T = TypeVar("T")

MAX_WAITING = 64
"""Jobs for one device; the next one is refused."""


class _Job(Generic[T]):
    """A piece of work and whoever waits for it. A caller who gives up takes the work with him."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self.result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        if self.result.done():
            return
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            self.result.add_done_callback(lambda _: task.cancel())

    async def _run(self) -> None:
        try:
            found = await self._work()
        except Exception as error:  # the caller's to handle, whatever it is
            self.fail(error)
        else:
            if not self.result.done():
                self.result.set_result(found)

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class Worker:
    """Jobs of one device in order."""

    def __init__(self) -> None:
        self._jobs: deque[_Job[object]] = deque()
        self._current: _Job[object] | None = None
        self._wake = asyncio.Event()
        self._closed: str | None = None

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` when its turn comes and return what it returns, or raise what it raises.

        The caller owns the deadline: a cancelled call cancels the work. Raises `SessionClosedError` when the
        worker is closed before the work is done, `DeviceBusyError` when too much waits already.
        """
        if self._closed is not None:
            raise SessionClosedError(self._closed)
        if len(self._jobs) >= MAX_WAITING:
            raise DeviceBusyError(MAX_WAITING)
        job = _Job(work)
        self._jobs.append(job)  # type: ignore[arg-type]  # nobody looks at results here
        self._wake.set()
        try:
            return await job.result
        finally:
            if job in self._jobs:
                self._jobs.remove(job)  # type: ignore[arg-type]  # nobody looks at results here

    def wake(self) -> None:
        """Make `wait` return."""
        self._wake.set()

    async def wait(self) -> None:
        """Return when there is a job, or `wake` was called."""
        if not self._jobs:
            await self._wake.wait()
        self._wake.clear()

    async def run_next(self) -> None:
        """Run the next job, if there is one; what it raises goes to its caller."""
        if not self._jobs:
            return
        self._current = self._jobs.popleft()
        try:
            await self._current.run()
        finally:
            self._current = None

    def close(self, why: str) -> None:
        """Refuse all jobs from now on; those that wait or are under way raise `SessionClosedError`."""
        self._closed = why
        for job in (self._current, *self._jobs):
            if job is not None:
                job.fail(SessionClosedError(why))
        self._jobs.clear()
        self._wake.set()
