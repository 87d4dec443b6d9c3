"""The latest value of every output of every service, and who wants to hear of the next one.

Refuses to keep history: that is what Prometheus and databases are for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from fita.model.device import Endpoint
from fita.model.runtime import OutputValue, WorkloadId

SUBSCRIBER_QUEUE_SIZE = 1024
"""Values that wait for one slow reader; the oldest go first, because the newest say what is true now."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Which pod a workload is, in the words of `kubectl`."""

    namespace: str
    pod: str
    node: str


class Output(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One output as consumers see it. `received_at` is RFC 3339, `sequence` grows by one with every value.

    `namespace`, `pod` and `node` are empty for a service that belongs to no pod.
    """

    device: Endpoint
    node: str
    namespace: str
    pod: str
    service: str
    key: str
    value: float | int
    unit: str
    received_at: str
    sequence: int


OutputKey = tuple[Endpoint, WorkloadId, str]


@dataclass(slots=True, eq=False)
class Subscription:
    """A bounded queue of new outputs for one reader; `dropped` counts what it was too slow for."""

    _waiting: deque[Output] = field(default_factory=lambda: deque(maxlen=SUBSCRIBER_QUEUE_SIZE))
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: int = 0

    def put(self, output: Output) -> None:
        if len(self._waiting) == SUBSCRIBER_QUEUE_SIZE:
            self.dropped += 1
        self._waiting.append(output)
        self._wake.set()

    async def get(self) -> Output:
        """The next output; waits for one. Safe to cancel."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class OutputStore:
    """Holds the latest `OutputValue` by device, workload and key. Not thread-safe: one event loop."""

    def __init__(self, *, name_workload: Callable[[WorkloadId], Workload | None]) -> None:
        self._latest: dict[OutputKey, tuple[OutputValue, int]] = {}
        self._subscriptions: set[Subscription] = set()
        self._name_workload = name_workload
        self._sequence = 0

    def update(self, value: OutputValue) -> None:
        """Take a new value and hand it to every subscriber."""
        self._sequence += 1
        self._latest[value.endpoint, value.workload, value.key] = (value, self._sequence)
        if self._subscriptions:
            output = self._describe(value, self._sequence)
            for subscription in self._subscriptions:
                subscription.put(output)

    def latest(self) -> list[Output]:
        """The latest value of every output, oldest first."""
        entries = sorted(self._latest.values(), key=lambda entry: entry[1])
        return [self._describe(value, sequence) for value, sequence in entries]

    def retain(self, endpoint: Endpoint, workloads: Collection[WorkloadId] = ()) -> None:
        """Drop the values of a device's workloads, all but those of `workloads`."""
        for key in list(self._latest):
            if key[0] == endpoint and key[1] not in workloads:
                del self._latest[key]

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """New outputs from now on, for as long as the context lasts."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def _describe(self, value: OutputValue, sequence: int) -> Output:
        workload = self._name_workload(value.workload) or Workload(namespace="", pod="", node="")
        return Output(
            device=value.endpoint,
            node=workload.node,
            namespace=workload.namespace,
            pod=workload.pod,
            service=value.service,
            key=value.key,
            value=value.value,
            unit=value.unit,
            received_at=value.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            sequence=sequence,
        )
