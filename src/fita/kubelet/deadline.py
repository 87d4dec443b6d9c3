"""The deadline of a request to the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fita.kube.errors import ConnectionFailedError

API_DEADLINE_S = 15.0
"""How long one answer may take: an API server that is that slow counts as away."""


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
