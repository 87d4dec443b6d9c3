"""Wall time. Durations and deadlines use the event loop's own clock instead.

Tests replace durations by virtual time (looptime) and wall time by a fixed `Clock`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present moment as an aware UTC datetime."""


def utc_now() -> datetime:
    """The system's wall time in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Kubernetes ``Time``: whole seconds, ``Z`` (RFC 3339)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """Kubernetes ``MicroTime``: microseconds, ``Z`` (RFC 3339)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
