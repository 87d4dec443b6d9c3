"""What all tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import structlog


def pytest_configure() -> None:
    """Leave no current event loop: asyncio would make one for the first synchronous test and never close it."""
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that runs the command line configures logging for the whole process."""
    yield
    structlog.reset_defaults()
