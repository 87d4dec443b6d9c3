from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fita.coap.message.deduplication import Deduplication, MessageKey

LIFETIME_S = 10.0
PEER = ("192.0.2.1", 5683)
MESSAGE_IDS = st.integers(0, 20)


class DeduplicationMachine(RuleBasedStateMachine):
    """Whatever is younger than the lifetime is known, whatever is older than one and a half is not."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Deduplication(LIFETIME_S, capacity=1000)
        self.model: dict[MessageKey, tuple[float, bytes]] = {}
        self.now = 100.0

    @rule(message_id=MESSAGE_IDS, answer=st.binary(max_size=3))
    def receive(self, message_id: int, answer: bytes) -> None:
        key = (PEER, message_id)
        found = self.seen.find(key, self.now)
        remembered_at, expected = self.model.get(key, (-1000.0, b""))
        age = self.now - remembered_at
        if age < LIFETIME_S:
            assert found == expected
        elif age > LIFETIME_S * 1.5:
            assert found is None
        if found is None:
            self.seen.remember(key, answer)
            self.model[key] = (self.now, answer)
        elif key in self.model:
            self.seen.remember(key, answer)
            self.model[key] = (remembered_at, answer)

    @rule(seconds=st.floats(0, 12))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_old_is_kept_when_messages_come(self) -> None:
        self.seen.find((PEER, 999), self.now)
        alive = [key for key, (at, _) in self.model.items() if self.now - at <= LIFETIME_S * 1.5]
        assert len(self.seen) <= len(alive)


TestDeduplication = DeduplicationMachine.TestCase
TestDeduplication.settings = settings(max_examples=40, stateful_step_count=40)


def test_the_oldest_are_forgotten_early_when_there_are_too_many() -> None:
    seen = Deduplication(LIFETIME_S, capacity=300)
    for message_id in range(1000):
        seen.remember((PEER, message_id), b"answer")
    assert len(seen) <= 300
    assert seen.find((PEER, 999), 0.0) == b"answer"
    assert seen.find((PEER, 0), 0.0) is None
