"""Exponential backoff with jitter, as a value that is advanced by its owner."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays in seconds that grow from `initial_s` to `limit_s`; each is jittered by +-`jitter`.

    `next_s` returns the next delay, `reset` starts again after a success.
    """

    initial_s: float = 0.5
    limit_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    rng: random.Random = field(default_factory=random.Random)
    attempts: int = 0

    def next_s(self) -> float:
        base = min(self.limit_s, self.initial_s * self.factor ** min(self.attempts, 32))
        self.attempts += 1
        return base * (1 + self.jitter * (2 * self.rng.random() - 1))

    def reset(self) -> None:
        self.attempts = 0
