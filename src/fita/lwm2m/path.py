"""LwM2M paths (LwM2M Core 1.1 section 7.3): object, instance, resource, resource instance."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from fita.lwm2m.errors import PathError

MAX_ID = 65534
"""65535 is reserved and names nothing (LwM2M Core 1.1 section 7.2)."""

_PATH = re.compile(r"/?(\d{1,5})(?:/(\d{1,5})(?:/(\d{1,5})(?:/(\d{1,5}))?)?)?", re.ASCII)


class Path(NamedTuple):
    """What an operation names. `Path(3, 0, 1)` is ``/3/0/1``; parts at the end may be missing.

    There is no root: this server never operates on all objects at once.
    """

    object_id: int
    instance_id: int | None = None
    resource_id: int | None = None
    resource_instance_id: int | None = None

    def __str__(self) -> str:
        return "".join(f"/{part}" for part in self if part is not None)

    @property
    def depth(self) -> int:
        """1 for an object, 2 for an instance, 3 for a resource, 4 for an instance of a resource."""
        return 4 - self.count(None)

    @property
    def segments(self) -> tuple[str, ...]:
        """The options of a request: ``("3", "0", "1")``."""
        return tuple(str(part) for part in self if part is not None)

    def covers(self, other: Path) -> bool:
        """Whether `other` is this path or lies below it."""
        depth = self.depth
        return self[:depth] == other[:depth]


@lru_cache(maxsize=8192)
def parse_path(text: str) -> Path:
    """``/3/0/1`` or ``3/0/1`` as `Path`. Raises `PathError`."""
    match = _PATH.fullmatch(text)
    if match is None:
        raise PathError(f"{text[:64]!r} is no LwM2M path", hint="a path is like /3/0/1")
    parts = [int(part) for part in match.groups() if part is not None]
    if max(parts) > MAX_ID:
        raise PathError(f"{text!r} has an id above {MAX_ID}", hint="ids are 0 to 65534")
    return Path(*parts)
