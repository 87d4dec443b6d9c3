from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import structlog

from fita.base.backoff import Backoff
from fita.base.errors import FitaError
from fita.kube.queue import FRESH_PER_RETRY, WorkQueue

pytestmark = pytest.mark.looptime


def steady() -> Backoff:
    return Backoff(initial_s=1, limit_s=8, jitter=0)


@asynccontextmanager
async def working(
    reconcile: Callable[[str], Awaitable[float | None]], *, workers: int = 2
) -> AsyncIterator[WorkQueue[str]]:
    queue = WorkQueue(reconcile, workers=workers, name="test", backoff=steady)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(queue.run())
        with structlog.testing.capture_logs():
            yield queue
        task.cancel()


class Recorder:
    """Notes (second, key) of every call, then does what the test says."""

    def __init__(self, act: Callable[[str], Awaitable[float | None]] | None = None) -> None:
        self.calls: list[tuple[int, str]] = []
        self._act = act

    async def __call__(self, key: str) -> float | None:
        self.calls.append((round(asyncio.get_running_loop().time()), key))
        return await self._act(key) if self._act else None


async def test_keys_added_often_are_worked_on_once() -> None:
    recorder = Recorder()
    async with working(recorder) as queue:
        for _ in range(5):
            queue.add("a")
            queue.add("b")
        assert len(queue) == 2 or queue.running == 2
        await asyncio.sleep(1)
        assert [key for _, key in recorder.calls] == ["a", "b"]
        assert (len(queue), queue.running, queue.delayed) == (0, 0, 0)


async def test_a_key_added_while_it_is_worked_on_is_worked_on_again() -> None:
    async def slow(key: str) -> None:
        await asyncio.sleep(10)

    recorder = Recorder(slow)
    async with working(recorder) as queue:
        queue.add("a")
        await asyncio.sleep(5)
        queue.add("a")
        queue.add("a")
        assert queue.running == 1
        await asyncio.sleep(30)
        assert recorder.calls == [(0, "a"), (10, "a")]


async def test_no_more_than_its_workers_at_a_time() -> None:
    async def slow(key: str) -> None:
        await asyncio.sleep(10)

    recorder = Recorder(slow)
    async with working(recorder, workers=3) as queue:
        for number in range(7):
            queue.add(f"k{number}")
        await asyncio.sleep(1)
        assert (queue.running, len(queue)) == (3, 4)
        await asyncio.sleep(30)
        assert [at for at, _ in recorder.calls] == [0, 0, 0, 10, 10, 10, 20]


async def test_a_returned_number_brings_the_key_back() -> None:
    answers = iter([5.0, 7.5, None])

    async def answer(key: str) -> float | None:
        return next(answers)

    recorder = Recorder(answer)
    async with working(recorder) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        assert queue.delayed == 1
        await asyncio.sleep(100)
        assert recorder.calls == [(0, "a"), (5, "a"), (12, "a")]


async def test_failures_back_off_and_success_forgets_them() -> None:
    failures = 3

    async def fail(key: str) -> float | None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise FitaError("not now")
        return None

    recorder = Recorder(fail)
    async with working(recorder) as queue:
        queue.add("a")
        await asyncio.sleep(20)
        assert recorder.calls == [(0, "a"), (1, "a"), (3, "a"), (7, "a")]
        failures = 1
        queue.add("a")
        await asyncio.sleep(20)
        assert recorder.calls[4:] == [(20, "a"), (21, "a")]


async def test_a_failure_is_a_warning_once_per_reason() -> None:
    reasons = iter(["no room", "no room", "no room", "no net", "no net"])

    async def fail(key: str) -> float | None:
        if (reason := next(reasons, None)) is not None:
            raise FitaError(reason)
        return None

    queue = WorkQueue(fail, workers=1, name="test", backoff=steady)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(queue.run())
        with structlog.testing.capture_logs() as logs:
            queue.add("a")
            await asyncio.sleep(100)
        task.cancel()
    assert [(entry["error"], entry["attempt"]) for entry in logs if entry["log_level"] == "warning"] == [
        ("no room", 1),
        ("no net", 4),
    ]
    assert len(logs) == 5


async def test_a_fresh_reason_does_not_wait_for_the_backoff() -> None:
    async def fail(key: str) -> float | None:
        raise FitaError("not now")

    recorder = Recorder(fail)
    async with working(recorder) as queue:
        queue.add("a")
        await asyncio.sleep(4)
        assert recorder.calls == [(0, "a"), (1, "a"), (3, "a")]
        queue.add("a")
        await asyncio.sleep(1)
        assert recorder.calls[3:] == [(4, "a")]


async def test_the_soonest_time_wins() -> None:
    recorder = Recorder()
    async with working(recorder) as queue:
        queue.add_after("a", 20)
        queue.add_after("a", 5)
        queue.add_after("a", 50)
        queue.add_after("b", -1)
        await asyncio.sleep(100)
        assert recorder.calls == [(0, "b"), (5, "a")]


async def test_an_appointment_outlives_a_fresh_reason() -> None:
    recorder = Recorder()
    async with working(recorder) as queue:
        queue.add_after("a", 20)
        queue.add("a")
        await asyncio.sleep(100)
        assert recorder.calls == [(0, "a"), (20, "a")]


async def test_failing_keys_never_take_all_workers() -> None:
    async def act(key: str) -> float | None:
        if key.startswith("bad"):
            await asyncio.sleep(30)
            raise FitaError("timed out")
        return None

    recorder = Recorder(act)
    async with working(recorder, workers=4) as queue:
        for number in range(100):
            queue.add(f"bad{number}")
        await asyncio.sleep(1000)  # all of them have failed and come back
        recorder.calls.clear()
        for number in range(50):
            queue.add(f"good{number}")
            await asyncio.sleep(1)
            assert recorder.calls[-1] == (1000 + number, f"good{number}")


async def test_failed_keys_get_their_turn_among_endless_fresh_ones() -> None:
    failed_at: list[int] = []
    others: list[str] = []

    async def act(key: str) -> float | None:
        if key == "bad":
            failed_at.append(len(others))
            raise FitaError("broken")
        others.append(key)
        await asyncio.sleep(0.01)
        queue.add(f"fresh{len(others)}")
        queue.add(f"more{len(others)}")
        return None

    async with working(act, workers=1) as queue:
        queue.add("bad")
        queue.add("fresh")
        await asyncio.sleep(10)
    assert len(failed_at) == 4
    assert len(others) > 500


async def test_fresh_keys_go_before_failed_ones() -> None:
    order: list[str] = []

    async def act(key: str) -> float | None:
        order.append(key)
        if key == "slow":
            await asyncio.sleep(100)
        elif key.startswith("bad") and order.count(key) == 1:
            raise FitaError("broken")
        return None

    async with working(act, workers=1) as queue:
        for number in range(3):
            queue.add(f"bad{number}")
        await asyncio.sleep(0.5)
        queue.add("slow")
        await asyncio.sleep(10)
        fresh = [f"fresh{number}" for number in range(FRESH_PER_RETRY - 1)]
        for key in fresh:
            queue.add(key)
        await asyncio.sleep(200)
    assert order[:11] == ["bad0", "bad1", "bad2", "slow", *fresh]
    assert sorted(order[11:]) == ["bad0", "bad1", "bad2"]


async def test_one_failing_key_does_not_disturb_the_others() -> None:
    async def act(key: str) -> float | None:
        if key == "bad":
            raise ValueError("a fault in the program")
        return None

    queue = WorkQueue(act, workers=1, name="test", backoff=steady)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(queue.run())
        with structlog.testing.capture_logs() as logs:
            queue.add("bad")
            queue.add("good")
            await asyncio.sleep(0.5)
            assert queue.delayed == 1
        task.cancel()
    assert [(entry["event"], entry["key"], entry["log_level"]) for entry in logs] == [
        ("reconcile broke", "bad", "error")
    ]
    assert isinstance(logs[0]["exc_info"], ValueError)


async def test_something_cancelled_inside_counts_as_failure() -> None:
    async def act(key: str) -> float | None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future
        return None

    recorder = Recorder(act)
    async with working(recorder) as queue:
        queue.add("a")
        await asyncio.sleep(2)
        assert recorder.calls == [(0, "a"), (1, "a")]


async def test_what_is_interrupted_is_due_at_the_next_run() -> None:
    async def slow(key: str) -> None:
        await asyncio.sleep(10)

    recorder = Recorder(slow)
    queue = WorkQueue(recorder, workers=2, name="test")
    queue.add("a")
    queue.add("b")
    queue.add("c")
    for seconds in (5, 0):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await queue.run()
        assert queue.running == 0
        assert len(queue) == 3
    async with asyncio.TaskGroup() as group:
        task = group.create_task(queue.run())
        await asyncio.sleep(100)
        task.cancel()
    assert sorted(key for _, key in recorder.calls[-3:]) == ["a", "b", "c"]
    assert len(queue) == 0


def test_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="worker"):
        WorkQueue(Recorder(), workers=0, name="test")
