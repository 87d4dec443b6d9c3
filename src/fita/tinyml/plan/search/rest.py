"""What a chain costs at least from a cut on with so many devices left, whatever their kinds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from fita.tinyml.tensor import Array

Cost = tuple[int, int, int]
"""Compared from left to right, and summed up over a chain."""
_COUNTED_MAX = 12
"""More devices than so many count as any number."""
_NONE = np.int64(2**60)


class Columns(msgspec.Struct, frozen=True, eq=False):
    """The options from one cut on: to which cut each leads, how many devices it takes, and its `costs` (nx3)."""

    last: Array
    devices: Array
    costs: Array


class Rest:
    """The least of each part of the cost by itself, by cut and devices left. Each cut has its `columns`."""

    def __init__(self, columns: Sequence[Columns], devices: int) -> None:
        end = len(columns)
        self._most = min(devices, _COUNTED_MAX)
        left = np.arange(self._most + 1)
        table = np.full((3, end + 1, self._most + 1), _NONE)
        table[:, end, :] = 0
        for cut in range(end - 1, -1, -1):
            ways = columns[cut]
            if not len(ways.last):
                continue
            after = left - ways.devices[:, None]
            if devices > _COUNTED_MAX:
                after[:, -1] = self._most
            costs = table[:, ways.last[:, None], np.maximum(after, 0)] + ways.costs.T[:, :, None]
            costs[:, after < 0] = _NONE
            table[:, cut] = np.minimum(_NONE, costs.min(axis=1))
        self._rows: list[list[Cost | None]] = [
            [None if cost[0] >= _NONE else (cost[0], cost[1], cost[2]) for cost in table[:, cut].T.tolist()]
            for cut in range(end + 1)
        ]

    def counted(self, devices: int) -> int:
        """The number that stands for so many devices left."""
        return min(devices, self._most)

    def at(self, cut: int, devices: int) -> Cost | None:
        """None where no chain leads to the end."""
        return self._rows[cut][min(devices, self._most)]
