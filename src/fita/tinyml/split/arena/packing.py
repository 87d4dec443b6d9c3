"""Placing storages in one arena so that it is small: the best of a few orders, then branch and bound.

Storages that are in use together lie apart by their `gap_bytes`, in one order or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fita.tinyml.split.arena.orientation import improve
from fita.tinyml.split.arena.storage import Storage, aligned

Offsets = dict[Storage, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Where each storage starts, and how much that takes. `optimal` when nothing smaller is possible."""

    size_bytes: int
    offsets: Offsets
    optimal: bool


def least_bytes(storages: Sequence[Storage]) -> int:
    """What no packing can go below: the most that is in use at any one operator, as far as it cannot overlap."""
    moments = {storage.born for storage in storages}
    return max((_least_at(storages, moment) for moment in moments), default=0)


def _least_at(storages: Sequence[Storage], moment: int) -> int:
    alive = [storage for storage in storages if storage.born <= moment <= storage.dies]
    total = sum(storage.size_bytes for storage in alive)
    born = [storage for storage in alive if storage.born == moment and storage.clearances]
    saved = sum(
        min(storage.size_bytes - gap, other.size_bytes)
        for storage in born
        for other, gap in storage.clearances.items()
    )
    return total - min(saved, sum(storage.size_bytes for storage in born))


def pack(storages: Sequence[Storage]) -> Packing:
    """The smallest arena found; the same storages always give the same."""
    quick = quick_packing(storages)
    if quick.optimal:
        return quick
    found, complete = improve(storages, quick.size_bytes, least_bytes(storages))
    if found is None:
        return Packing(size_bytes=quick.size_bytes, offsets=quick.offsets, optimal=complete)
    return Packing(size_bytes=_extent(found), offsets=found, optimal=complete)


def quick_packing(storages: Sequence[Storage]) -> Packing:
    """The best of a few orders, without a search."""
    least = least_bytes(storages)
    best: Offsets = {}
    size = -1
    for order in _ORDERS:
        offsets = _first_fit(sorted(storages, key=order))
        if size < 0 or _extent(offsets) < size:
            best, size = offsets, _extent(offsets)
        if size == least:
            break
    return Packing(size_bytes=size, offsets=best, optimal=size == least)


_ORDERS: tuple[Callable[[Storage], tuple[int, int]], ...] = (
    lambda storage: (-storage.size_bytes, storage.born),
    lambda storage: (-storage.born, -storage.size_bytes),
    lambda storage: (storage.born, -storage.size_bytes),
    lambda storage: (storage.born - storage.dies, -storage.size_bytes),
)


def _extent(offsets: Offsets) -> int:
    return max((offset + storage.size_bytes for storage, offset in offsets.items()), default=0)


def _first_fit(order: Sequence[Storage]) -> Offsets:
    """Each storage in turn at the lowest place that is left."""
    offsets: Offsets = {}
    for storage in order:
        met = [(other, offset) for other, offset in offsets.items() if storage.meets(other)]
        places = {0, *(aligned(offset + other.gap_bytes(storage), storage.align) for other, offset in met)}
        offsets[storage] = min(place for place in places if _is_free(storage, place, met))
    return offsets


def _is_free(storage: Storage, place: int, met: Sequence[tuple[Storage, int]]) -> bool:
    return all(
        place >= offset + other.gap_bytes(storage) or offset >= place + storage.gap_bytes(other)
        for other, offset in met
    )
