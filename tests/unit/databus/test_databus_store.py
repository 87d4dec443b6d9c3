from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fita.databus.store import SUBSCRIBER_QUEUE_SIZE, OutputStore, Workload
from fita.model.device import Endpoint
from fita.model.runtime import OutputValue, WorkloadId

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def value_of(
    number: float, *, endpoint: str = "lamp1", workload: str = "uid-1/main", key: str = "t"
) -> OutputValue:
    return OutputValue(
        endpoint=Endpoint(endpoint),
        workload=WorkloadId(workload),
        service="average",
        key=key,
        value=number,
        received_at=AT,
        unit="Cel",
    )


def store_of(**names: Workload) -> OutputStore:
    return OutputStore(name_workload=lambda workload: names.get(workload.split("/")[0].replace("-", "_")))


def test_keeps_only_the_latest_value_of_each_output() -> None:
    store = store_of(uid_1=Workload(namespace="default", pod="avg-0", node="gw-lamp1"))
    for number in (1.0, 2.0):
        store.update(value_of(number))
    store.update(value_of(7, key="count"))

    first, second = store.latest()

    assert (first.key, first.value, first.pod, first.node) == ("t", 2.0, "avg-0", "gw-lamp1")
    assert first.received_at == "2026-01-02T03:04:05.678Z"
    assert (second.key, second.value) == ("count", 7)
    assert second.sequence > first.sequence


def test_a_service_of_no_pod_keeps_its_values_without_a_name() -> None:
    store = store_of()
    store.update(value_of(1.0))
    assert store.latest()[0].pod == ""


def test_keeps_of_a_device_only_the_workloads_that_are_still_there() -> None:
    store = store_of()
    store.update(value_of(1, endpoint="a", workload="w1"))
    store.update(value_of(2, endpoint="a", workload="w2"))
    store.update(value_of(3, endpoint="b", workload="w2"))

    store.retain(Endpoint("a"), {WorkloadId("w1")})
    assert [output.value for output in store.latest()] == [1, 3]
    store.retain(Endpoint("a"))
    assert [output.value for output in store.latest()] == [3]


async def test_a_subscriber_gets_every_value_in_order() -> None:
    store = store_of()
    with store.subscribe() as subscription:
        for number in range(3):
            store.update(value_of(number))
        async with asyncio.timeout(5):
            assert [(await subscription.get()).value for _ in range(3)] == [0, 1, 2]


async def test_a_slow_subscriber_loses_the_oldest_and_knows_how_many() -> None:
    store = store_of()
    with store.subscribe() as subscription:
        for number in range(SUBSCRIBER_QUEUE_SIZE + 5):
            store.update(value_of(number))
        async with asyncio.timeout(5):
            assert (await subscription.get()).value == 5
        assert subscription.dropped == 5


async def test_two_subscribers_do_not_take_from_each_other() -> None:
    store = store_of()
    with store.subscribe() as one, store.subscribe() as two:
        store.update(value_of(1))
        async with asyncio.timeout(5):
            assert (await one.get()) == (await two.get())
