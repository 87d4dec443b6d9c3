"""One heap of deadlines for everything that waits. Knows no clock: the owner passes the time in."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

_COMPACT_FROM = 64  # cancelled entries; fewer are not worth looking for


class Timed(Protocol):
    """Something that waits. It waits for `deadline` only: a heap entry with another time is stale."""

    deadline: float | None

    def fire(self, now: float) -> None:
        """The deadline has passed; it was set to None before."""
        ...


class Timers:
    """Fires each `Timed` once, in order of the deadlines. A cancelled one costs its heap entry until it is due.

    `on_earlier` hears of a deadline that comes before all others.
    """

    def __init__(self) -> None:
        self.on_earlier: Callable[[float], None] | None = None
        self._heap: list[tuple[float, int, Timed]] = []
        self._order = count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def schedule(self, item: Timed, deadline: float) -> None:
        """Wait until `deadline` (seconds, the owner's clock). A deadline it had before is forgotten."""
        self.cancel(item)
        item.deadline = deadline
        entry = (deadline, next(self._order), item)
        heapq.heappush(self._heap, entry)
        if self.on_earlier is not None and self._heap[0] is entry:
            self.on_earlier(deadline)

    def cancel(self, item: Timed) -> None:
        """Do not fire `item` any more; nothing happens if it does not wait."""
        if item.deadline is None:
            return
        item.deadline = None
        self._cancelled += 1
        if self._cancelled > _COMPACT_FROM and self._cancelled * 2 > len(self._heap):
            self._compact()

    def _compact(self) -> None:
        # By item: one that was cancelled and scheduled again for the very same time has two equal entries.
        alive = {id(entry[2]): entry for entry in self._heap if entry[2].deadline == entry[0]}
        self._heap = list(alive.values())
        heapq.heapify(self._heap)
        self._cancelled = 0

    def next_deadline(self) -> float | None:
        """When `expire` has work again; may be early for a cancelled item, never late."""
        return self._heap[0][0] if self._heap else None

    def expire(self, now: float) -> None:
        """Fire everything that is due at `now`."""
        while self._heap and self._heap[0][0] <= now:
            deadline, _, item = heapq.heappop(self._heap)
            if item.deadline == deadline:
                item.deadline = None
                item.fire(now)
            else:
                self._cancelled -= 1
