"""Which confirmable and non-confirmable messages were seen, and what was answered (RFC 7252 section 4.5).

Small on purpose: a key and the answer's bytes, no message and no time stamp. Entries live in generations that are
dropped as a whole, so one is remembered for EXCHANGE_LIFETIME and at most half as long again.
"""

from __future__ import annotations

from fita.coap.interfaces import Peer

_GENERATIONS = 3  # half of the lifetime each, the youngest still filling

MessageKey = tuple[Peer, int]


class Deduplication:
    """Answers by (peer, message id), at most `capacity` of them: beyond that the oldest generation goes early."""

    def __init__(self, lifetime_s: float, capacity: int) -> None:
        self._span_s = lifetime_s / (_GENERATIONS - 1)
        self._generation_capacity = max(1, capacity // _GENERATIONS)
        self._generations: list[dict[MessageKey, bytes]] = [{}]
        self._started = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._generations))

    def find(self, key: MessageKey, now: float) -> bytes | None:
        """The answer to the message when it was seen (empty: none yet), None when it is new."""
        if now - self._started >= self._span_s:
            self._advance(now)
        for generation in self._generations:
            if key in generation:
                return generation[key]
        return None

    def remember(self, key: MessageKey, answer: bytes = b"") -> None:
        """Mark the message as seen, or replace its answer."""
        for generation in self._generations:
            if key in generation:
                generation[key] = answer
                return
        if len(self._generations[0]) >= self._generation_capacity:
            self._push()
        self._generations[0][key] = answer

    def _advance(self, now: float) -> None:
        elapsed = int((now - self._started) / self._span_s)
        self._started += elapsed * self._span_s
        for _ in range(min(elapsed, _GENERATIONS)):
            self._push()

    def _push(self) -> None:
        self._generations.insert(0, {})
        del self._generations[_GENERATIONS:]
