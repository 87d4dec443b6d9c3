"""Branch and bound over which of two storages lies below the other, for every pair that is in use together.

A decided pair is an edge; the longest paths from the bottom and to the top bound where a storage can start. A pair
that fits only one way is decided by that, so that chains of operators leave little to branch on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fita.tinyml.split.arena.storage import Storage, aligned

_WORK = 50_000
"""Pairs looked at, about a tenth of a second. Enough for a proof but for dozens of tensors with many skips."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """`below` starts at least `gap` bytes under `above`."""

    below: int
    above: int
    gap: int


@dataclass(slots=True)
class _State:
    """Lowest starts, bytes from a start to the arena's end at least, and the pairs decided and open."""

    heads: list[int]
    tails: list[int]
    edges: list[_Edge]
    pairs: list[tuple[_Edge, _Edge]]

    def copy(self) -> _State:
        return _State(list(self.heads), list(self.tails), list(self.edges), list(self.pairs))

    def length(self, edge: _Edge) -> int:
        """The shortest arena in which the edge could hold."""
        return self.heads[edge.below] + edge.gap + self.tails[edge.above]


@dataclass(slots=True)
class _Search:
    """The first arrangement of at most `limit` bytes."""

    storages: Sequence[Storage]
    limit: int
    work: int = 0

    @property
    def exhausted(self) -> bool:
        return self.work >= _WORK

    def solve(self, state: _State) -> _State | None:
        """The state in which every pair is decided; None when there is none, or the work is used up."""
        if self.exhausted or not self._propagate(state):
            return None
        if not state.pairs:
            return state
        pair = max(state.pairs, key=lambda pair: (state.length(pair[0]) + state.length(pair[1]), pair[0].below))
        for edge in sorted(pair, key=state.length):
            branch = state.copy()
            branch.pairs.remove(pair)
            branch.edges.append(edge)
            found = self.solve(branch)
            if found is not None:
                return found
        return None

    def _propagate(self, state: _State) -> bool:
        """Move storages apart and decide pairs until nothing changes; whether all still fits."""
        changed = True
        while changed:
            changed = False
            self.work += len(state.edges) + len(state.pairs)
            for edge in state.edges:
                changed |= self._apply(state, edge)
            if any(head + tail > self.limit for head, tail in zip(state.heads, state.tails, strict=True)):
                return False
            open_pairs = []
            for pair in state.pairs:
                possible = [edge for edge in pair if state.length(edge) <= self.limit]
                if not possible:
                    return False
                if len(possible) == 1:
                    state.edges.append(possible[0])
                    changed = True
                else:
                    open_pairs.append(pair)
            state.pairs = open_pairs
        return True

    def _apply(self, state: _State, edge: _Edge) -> bool:
        head = aligned(state.heads[edge.below] + edge.gap, self.storages[edge.above].align)
        tail = edge.gap + state.tails[edge.above]
        moved = head > state.heads[edge.above] or tail > state.tails[edge.below]
        state.heads[edge.above] = max(head, state.heads[edge.above])
        state.tails[edge.below] = max(tail, state.tails[edge.below])
        return moved


def improve(
    storages: Sequence[Storage], size_bytes: int, least_bytes: int
) -> tuple[dict[Storage, int] | None, bool]:
    """A smaller arrangement than one of `size_bytes`, if any is found, and whether the best of all is known."""
    start = _start(storages)
    best: dict[Storage, int] | None = None
    search = _Search(storages=storages, limit=size_bytes - 1)
    while search.limit >= least_bytes:
        found = search.solve(start.copy())
        if found is None:
            return best, not search.exhausted
        best = dict(zip(storages, found.heads, strict=True))
        search.limit = max(offset + storage.size_bytes for storage, offset in best.items()) - 1
    return best, True


def _start(storages: Sequence[Storage]) -> _State:
    pairs = [
        (_Edge(low, high, first.gap_bytes(second)), _Edge(high, low, second.gap_bytes(first)))
        for low, first in enumerate(storages)
        for high, second in enumerate(storages)
        if low < high and first.meets(second)
    ]
    return _State([0] * len(storages), [storage.size_bytes for storage in storages], [], pairs)
