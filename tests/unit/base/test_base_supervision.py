from __future__ import annotations

import asyncio
import random

import pytest
import structlog

from fita.base.backoff import Backoff
from fita.base.supervision import supervise


@pytest.mark.looptime
async def test_a_failing_part_is_started_again_with_growing_delays() -> None:
    starts: list[float] = []
    loop = asyncio.get_running_loop()

    async def part() -> None:
        starts.append(loop.time())
        if len(starts) == 2:
            return
        raise ValueError("broken")

    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(100):
            try:
                async with asyncio.timeout(10):
                    await supervise("part", part, backoff=Backoff(initial_s=1, limit_s=60, jitter=0))
            except TimeoutError:
                pass
    assert [round(at) for at in starts] == [0, 1, 3, 7]
    assert {entry["event"] for entry in logs} == {"part failed", "part returned"}


@pytest.mark.looptime
async def test_a_long_run_starts_the_backoff_anew() -> None:
    starts: list[float] = []
    loop = asyncio.get_running_loop()

    async def part() -> None:
        starts.append(loop.time())
        await asyncio.sleep(5)
        raise ValueError("broken")

    with structlog.testing.capture_logs():
        try:
            async with asyncio.timeout(20):
                await supervise("part", part, backoff=Backoff(initial_s=1, limit_s=2, jitter=0))
        except TimeoutError:
            pass
    assert [round(at) for at in starts] == [0, 6, 12, 18]


async def test_cancellation_passes() -> None:
    ran = asyncio.Event()

    async def part() -> None:
        ran.set()
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await supervise("part", part)
    assert ran.is_set()


def test_jitter_stays_within_its_share() -> None:
    backoff = Backoff(initial_s=1, limit_s=8, jitter=0.5, rng=random.Random(1))
    delays = [backoff.next_s() for _ in range(200)]
    assert all(0.5 <= delay <= 12 for delay in delays)
    assert len(set(delays)) > 100
    assert all(delay >= 4 for delay in delays[3:])
