from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fita.coap.message.timer import Timers

ITEMS = st.integers(0, 9)


class Item:
    def __init__(self, fired: list[int], name: int) -> None:
        self.deadline: float | None = None
        self._fired = fired
        self._name = name

    def fire(self, now: float) -> None:
        assert self.deadline is None
        self._fired.append(self._name)


class TimersMachine(RuleBasedStateMachine):
    """Against a dictionary of deadlines."""

    def __init__(self) -> None:
        super().__init__()
        self.fired: list[int] = []
        self.items = [Item(self.fired, name) for name in range(10)]
        self.expected: dict[int, float] = {}
        self.timers = Timers()
        self.now = 0.0

    @rule(item=ITEMS, delay=st.integers(0, 5))
    def schedule(self, item: int, delay: int) -> None:
        self.timers.schedule(self.items[item], self.now + delay)
        self.expected[item] = self.now + delay

    @rule(item=ITEMS)
    def cancel(self, item: int) -> None:
        self.timers.cancel(self.items[item])
        self.expected.pop(item, None)

    @rule(repetitions=st.integers(1, 100))
    def cancel_many(self, repetitions: int) -> None:
        for _ in range(repetitions):
            self.timers.schedule(self.items[0], self.now + 3)
            self.timers.cancel(self.items[0])
        self.expected.pop(0, None)

    @rule(step=st.integers(0, 4))
    def expire(self, step: int) -> None:
        self.now += step
        self.fired.clear()
        self.timers.expire(self.now)
        due = {item: deadline for item, deadline in self.expected.items() if deadline <= self.now}
        assert sorted(self.fired) == sorted(due)
        assert [due[item] for item in self.fired] == sorted(due.values())
        for item in due:
            del self.expected[item]

    @invariant()
    def the_next_deadline_is_never_late(self) -> None:
        assert len(self.timers) == len(self.expected)
        if self.expected:
            deadline = self.timers.next_deadline()
            assert deadline is not None
            assert deadline <= min(self.expected.values())


TestTimers = TimersMachine.TestCase
TestTimers.settings = settings(max_examples=40, stateful_step_count=40)


def test_only_a_deadline_before_all_others_is_announced() -> None:
    timers = Timers()
    announced: list[float] = []
    timers.on_earlier = announced.append
    for deadline in (5.0, 6.0, 4.0, 5.0):
        timers.schedule(Item([], 0), deadline)
    assert announced == [5.0, 4.0]
