"""From measured times to the figures that planner and simulator reckon with: least squares without negative costs.

Errors count in proportion to the times, so that short operators weigh as much as long ones; and to the fitted
times, not the measured ones, so that the mean of measured by fitted is one and sums over many operators come out
right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fita.tinyml.operator import OperatorClass
from fita.tinyml.tensor import Array

_TOLERANCE = 1e-9
_ROUNDS = 20
_LEAST_SHARE = 0.1
"""Of what was measured: fitted times that are next to nothing would weigh too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """How long some operators took, by the device's clock."""

    units: Mapping[OperatorClass, int]
    operators: int
    taken_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryTime:
    """What a frame took beside its operators: so many segments, so many messages one after the other."""

    segments: int
    messages: int
    size_bytes: int
    taken_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryCost:
    """What a segment and a message cost beside operators, and a byte in a message."""

    segment_ns: float
    message_ns: float
    byte_ns: float


def fit_operators(times: Sequence[OperatorTime]) -> tuple[dict[OperatorClass, float], float]:
    """Nanoseconds per unit of each class that occurs, and for starting an operator."""
    names = sorted({name for time in times for name in time.units})
    rows = [[*(time.units.get(name, 0) for name in names), time.operators] for time in times]
    *found, operator_ns = _fitted(rows, [time.taken_ns for time in times])
    return dict(zip(names, found, strict=True)), operator_ns


def fit_carriage(times: Sequence[CarryTime]) -> CarryCost:
    """The costs that explain the times best."""
    rows = [[time.segments, time.messages, time.size_bytes] for time in times]
    segment_ns, message_ns, byte_ns = _fitted(rows, [time.taken_ns for time in times])
    return CarryCost(segment_ns=segment_ns, message_ns=message_ns, byte_ns=byte_ns)


def _fitted(rows: Sequence[Sequence[int]], taken: Sequence[float]) -> list[float]:
    """Coefficients >= 0 of the columns. `ValueError` for a time that is none."""
    if not taken or min(taken) <= 0:
        raise ValueError("times to fit are positive")
    matrix, wanted = np.asarray(rows, dtype=float), np.asarray(taken, dtype=float)
    weights = wanted
    for _ in range(_ROUNDS):
        relative = matrix / weights[:, None]
        scales = np.maximum(np.linalg.norm(relative, axis=0), np.finfo(float).tiny)
        found = _nonnegative(relative / scales, wanted / weights) / scales
        weights = np.maximum(matrix @ found, _LEAST_SHARE * wanted)
    return [float(value) for value in found]


def _nonnegative(matrix: Array, wanted: Array) -> Array:
    """Least squares over values >= 0 (Lawson and Hanson: Solving Least Squares Problems, 1974, chapter 23)."""
    found = np.zeros(matrix.shape[1])
    free = np.zeros(matrix.shape[1], dtype=bool)
    for _ in range(3 * matrix.shape[1]):
        slope = matrix.T @ (wanted - matrix @ found)
        slope[free] = -np.inf
        if slope.max() <= _TOLERANCE:
            break
        free[int(slope.argmax())] = True
        trial = _least_squares(matrix, wanted, free)
        while trial[free].min() < 0:
            falling = free & (trial < 0)
            step = (found[falling] / (found[falling] - trial[falling])).min()
            found += step * (trial - found)
            free &= found > _TOLERANCE
            found[~free] = 0.0
            trial = _least_squares(matrix, wanted, free)
        found = trial
    return found


def _least_squares(matrix: Array, wanted: Array, free: Array) -> Array:
    found = np.zeros(matrix.shape[1])
    found[free] = np.linalg.lstsq(matrix[:, free], wanted, rcond=None)[0]
    return found
