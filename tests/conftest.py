"""What all tests share."""

from __future__ import annotations

import asyncio


def pytest_configure() -> None:
    """Leave no current event loop: asyncio would make one for the first synchronous test and never close it."""
    asyncio.set_event_loop(None)
