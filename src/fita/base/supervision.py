"""Structured concurrency: the one place where an unexpected exception of a part is caught.

A TaskGroup ends every sibling when one fails, so each part that must not take the others down
(one device, one reconcile key, one listener) runs under `supervise`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fita.base.backoff import Backoff

log = structlog.get_logger(__name__)


async def supervise(name: str, run: Callable[[], Awaitable[None]], *, backoff: Backoff | None = None) -> None:
    """Run `run` for ever: when it fails or returns, log that and start it again after a backoff.

    A run that lasted longer than the backoff's limit starts the backoff anew. Cancellation passes.
    """
    delays = backoff if backoff is not None else Backoff()
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await run()
        except Exception:
            log.exception("part failed", part=name)
        else:
            log.error("part returned", part=name)
        if loop.time() - started > delays.limit_s:
            delays.reset()
        await asyncio.sleep(delays.next_s())
