"""The heartbeats of all nodes: one queue of due times, some workers.

A node's lease is renewed as long as its device is there; Kubernetes marks a node Unknown when its lease has not
been renewed for 40 to 50 s (``--node-monitor-grace-period``). Every 25 to 30 s leaves room for a retry and costs
a third of a kubelet's every 10 s.

Source: https://kubernetes.io/docs/reference/node/node-status/#heartbeats
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime

import msgspec
import structlog

from fita.base.clock import Clock, rfc3339_micro
from fita.kube.client import KubernetesClient
from fita.kube.errors import KubeError, NotFoundError
from fita.kube.queue import WorkQueue
from fita.kube.resource import LEASES, RawObject
from fita.kubelet.deadline import api_deadline
from fita.model.wellknown import NAMESPACE_NODE_LEASE

log = structlog.get_logger(__name__)

LEASE_DURATION_S = 40
RENEW_MIN_S = 25.0
RENEW_MAX_S = 30.0
RETRY_MIN_S = 2.0
RETRY_MAX_S = 4.0
"""A renewal that failed is tried again while Kubernetes still waits for it."""

RENEW_DEADLINE_S = 8.0
WORKERS = 8


class _LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    renew_time: datetime | None = None


class _Lease(msgspec.Struct, frozen=True):
    spec: _LeaseSpec = _LeaseSpec()


class LeaseRenewer:
    """Keeps the leases of nodes alive, from `keep` until `drop`."""

    def __init__(self, client: KubernetesClient, *, clock: Clock, rng: random.Random | None = None) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng or random.Random()
        self._uids: dict[str, str] = {}
        self._failing: set[str] = set()
        self._queue: WorkQueue[str] = WorkQueue(self._renew, workers=WORKERS, name="leases")

    def __contains__(self, node: str) -> bool:
        return node in self._uids

    def keep(self, node: str, *, uid: str) -> None:
        """Renew the lease of the Node object with `uid` from now on. Again and again is the same as once."""
        if self._uids.get(node) != uid:
            self._uids[node] = uid
            self._queue.add(node)

    def drop(self, node: str) -> None:
        """Renew the lease of `node` no more."""
        self._uids.pop(node, None)
        self._failing.discard(node)

    async def renewed_at(self, node: str) -> datetime | None:
        """When the lease of `node` was renewed last; None when it never was."""
        try:
            async with api_deadline():
                lease = await self._client.get(LEASES, node, namespace=NAMESPACE_NODE_LEASE)
        except NotFoundError:
            return None
        return msgspec.convert(lease, _Lease).spec.renew_time

    async def run(self) -> None:
        """Renew, for ever."""
        await self._queue.run()

    async def _renew(self, node: str) -> float | None:
        uid = self._uids.get(node)
        if uid is None:
            return None
        try:
            async with asyncio.timeout(RENEW_DEADLINE_S):
                await self._write(node, uid)
        except (KubeError, TimeoutError) as error:
            if node not in self._failing:
                self._failing.add(node)
                log.warning("lease not renewed", node=node, error=str(error) or type(error).__name__)
            return self._rng.uniform(RETRY_MIN_S, RETRY_MAX_S)
        self._failing.discard(node)
        return self._rng.uniform(RENEW_MIN_S, RENEW_MAX_S)

    async def _write(self, node: str, uid: str) -> None:
        body = self._lease(node, uid)
        try:
            await self._client.patch(LEASES, node, body, namespace=NAMESPACE_NODE_LEASE)
        except NotFoundError:
            metadata = {**body["metadata"], "name": node, "namespace": NAMESPACE_NODE_LEASE}
            manifest = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, **body, "metadata": metadata}
            await self._client.create(LEASES, manifest, namespace=NAMESPACE_NODE_LEASE)

    def _lease(self, node: str, uid: str) -> RawObject:
        """The whole lease every time: whatever somebody changed about it, it is right again."""
        owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}
        return {
            "metadata": {"ownerReferences": [owner]},
            "spec": {
                "holderIdentity": node,
                "leaseDurationSeconds": LEASE_DURATION_S,
                "renewTime": rfc3339_micro(self._clock()),
            },
        }
