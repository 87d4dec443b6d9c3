"""Where a segment's tensors lie in one arena of activations, and how large that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fita.tinyml.operator import Concatenation, StridedSlice
from fita.tinyml.segment import Segment
from fita.tinyml.split.arena.packing import Packing, least_bytes, pack, quick_packing
from fita.tinyml.split.arena.storage import Storage, Views, storages
from fita.tinyml.tensor import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryPlan:
    """Byte offsets of all activations of a segment in an arena of `arena_bytes`.

    Offsets of tensors with 4-byte elements are multiples of 4. Inputs keep their place until the last operator
    that reads them, outputs until the segment has run. Tensors overlap only as the module `overlap` allows, or
    because one is a view of the other: an operator whose output lies where an operand already has the same bytes
    has nothing to do for that operand. `optimal` when no smaller arena is possible with these views.
    """

    arena_bytes: int
    offsets: Mapping[Tensor, int]
    optimal: bool


def segment_memory(segment: Segment) -> MemoryPlan:
    """The smallest arena found for a segment; the same segment always gives the same."""
    best: tuple[Packing, tuple[Storage, ...]] | None = None
    for views in _choices(segment):
        found = storages(segment, views)
        if best is not None and least_bytes(found) >= best[0].size_bytes:
            continue
        packing = pack(found)
        if best is None or packing.size_bytes < best[0].size_bytes:
            best = (packing, found)
    if best is None:
        return MemoryPlan(arena_bytes=0, offsets={}, optimal=True)
    packing, found = best
    offsets = {
        tensor: packing.offsets[storage] + place for storage in found for tensor, place in storage.places.items()
    }
    return MemoryPlan(arena_bytes=packing.size_bytes, offsets=offsets, optimal=packing.optimal)


def least_arena_bytes(segment: Segment) -> int:
    """What no arena of a segment can go below."""
    return min(least_bytes(storages(segment, views)) for views in _choices(segment))


def enough_arena_bytes(segment: Segment) -> int:
    """The size of an arena that is found without a search."""
    return min(quick_packing(storages(segment, views)).size_bytes for views in _choices(segment))


def _choices(segment: Segment) -> list[Views]:
    """Every choice of views that makes a difference."""
    slices = any(isinstance(operator, StridedSlice) for operator in segment.operators)
    joins = any(isinstance(operator, Concatenation) for operator in segment.operators)
    return [
        Views(slices=with_slices, concatenations=with_joins)
        for with_slices in ((True, False) if slices else (True,))
        for with_joins in ((True, False) if joins else (True,))
    ]
