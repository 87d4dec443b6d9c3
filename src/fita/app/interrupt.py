"""SIGINT and SIGTERM end the root coroutine by cancellation, so that every part closes in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine


async def until_interrupted(work: Coroutine[None, None, None]) -> None:
    """Run `work`; return quietly when a signal ends it, raise what it raises otherwise."""
    loop = asyncio.get_running_loop()
    interrupted = False
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        try:
            await asyncio.wait([task])
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
    if task.cancelled() and not interrupted:
        raise asyncio.CancelledError
