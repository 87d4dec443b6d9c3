"""The deadline of a request to the API server, and when a time has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fita.kube.errors import ConnectionFailedError

API_DEADLINE_S = 15.0
"""How long one answer may take: an API server that is that slow counts as away."""


_EARLY_S = 0.001
"""Event loops call timers a little early; looking again for the rest would be a tight loop."""


def remaining(until: float) -> float:
    """How many seconds it is to `until`, a time of the event loop; 0 when it has come."""
    left_s = until - asyncio.get_running_loop().time()
    return left_s if left_s > _EARLY_S else 0.0


@asynccontextmanager
async def api_deadline() -> AsyncIterator[None]:
    """Give the API server `API_DEADLINE_S`, then raise `ConnectionFailedError`."""
    try:
        async with asyncio.timeout(API_DEADLINE_S):
            yield
    except TimeoutError as error:
        raise ConnectionFailedError(
            f"the API server has not answered within {API_DEADLINE_S:g} s", hint="it is tried again"
        ) from error
