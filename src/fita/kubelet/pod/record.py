"""What the kubelet remembers of a pod between two looks at it. All of it can be lost: a restart starts afresh."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fita.base.backoff import Backoff
from fita.kubelet.pod.failure import Failure
from fita.kubelet.pod.image import digest_of_image_id
from fita.kubelet.pod.status import previous_container
from fita.model.kubernetes import Pod
from fita.model.runtime import ServiceStatus

BACKOFF_INITIAL_S = 10.0
BACKOFF_LIMIT_S = 300.0
"""A kubelet's delays for images and for containers that crash."""


def _backoff() -> Backoff:
    return Backoff(initial_s=BACKOFF_INITIAL_S, limit_s=BACKOFF_LIMIT_S, jitter=0.1)


@dataclass(slots=True)
class PodRecord:
    """One pod. `image` is the one that `digest`, `metadata`, `failure` and `retry_at` are about.

    `starts` counts starts that the device does not count (None: not known yet), `device_restarts` is what the
    device counted last. `revision` is the device's when `failure` happened.
    """

    uid: str
    seen_at: float
    was_pending: bool
    image: str = ""
    digest: str = ""
    metadata: str = ""
    failure: Failure | None = None
    retry_at: float = 0.0
    revision: int = 0
    starts: int | None = None
    device_restarts: int = 0
    running: bool = False
    warned: bool = False
    attempt: asyncio.Timeout | None = None
    backoff: Backoff = field(default_factory=_backoff)
    _written: Pod | None = None
    _written_over: str = ""

    def current(self, pod: Pod) -> Pod:
        """`pod` as the informer has it, or as the last write stored it if the informer has not seen that."""
        if self._written is not None and pod.metadata.resource_version == self._written_over:
            return self._written
        self._written = None
        return pod

    def wrote(self, stored: Pod, *, over: str) -> None:
        """Remember what was stored when the informer had the resource version `over`."""
        self._written, self._written_over = stored, over

    def turn_to(self, pod: Pod) -> None:
        """Start afresh when the pod wants another image than before."""
        image = pod.spec.containers[0].image
        if image == self.image:
            return
        before = previous_container(pod)
        self.image = image
        self.digest = digest_of_image_id(before.image_id) if before.image == image else ""
        self.metadata = ""
        self.succeed()

    def succeed(self) -> None:
        self.failure = None
        self.retry_at = 0.0
        self.backoff.reset()

    def fail(self, failure: Failure, *, now: float, revision: int) -> float:
        """Note a vain attempt; returns in how many seconds the next one is due."""
        again = self.failure is not None
        self.failure = failure.again() if again else failure
        self.revision = revision
        delay_s = self.backoff.next_s()
        self.retry_at = now + delay_s
        return delay_s

    def retry_now(self) -> None:
        """Make the next attempt due: what it failed for may have changed."""
        self.retry_at = 0.0
        self.backoff.reset()

    def count(self, pod: Pod, service: ServiceStatus | None) -> int:
        """Starts that the device does not count. A device that counts anew does not make restarts unhappen."""
        counted = service.restart_count if service is not None else 0
        if self.starts is None:
            self.starts = max(0, previous_container(pod).restart_count - counted)
        elif counted < self.device_restarts:
            self.starts += self.device_restarts
        self.device_restarts = counted
        return self.starts

    def call_off(self) -> None:
        """End the attempt that is under way, if there is one."""
        if self.attempt is not None and not self.attempt.expired():
            self.attempt.reschedule(asyncio.get_running_loop().time())
