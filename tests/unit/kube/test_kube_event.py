from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import structlog

import fita.kube.event as event_module
from fakes.api_server import FakeApiServer
from fita.kube.client import KubernetesClient
from fita.kube.event import MAX_PENDING, MAX_SIMILAR, EventRecorder, ObjectReference, reference
from fita.kube.resource import EVENTS, NODES, PODS
from fita.model.kubernetes import ObjectMeta

POD = ObjectReference(api_version="v1", kind="Pod", namespace="farm", name="a", uid="u1")
START = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_module, "REPEAT_DELAY_S", 0.01)


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as started:
        yield started


@asynccontextmanager
async def recording(server: FakeApiServer, time: Time, *, run: bool = True) -> AsyncIterator[EventRecorder]:
    async with asyncio.timeout(20), KubernetesClient(server.access) as client, asyncio.TaskGroup() as group:
        recorder = EventRecorder(client, component="fita", host="gw", clock=time, retry_s=0.01)
        tasks = [group.create_task(recorder.run())] if run else []
        yield recorder
        for task in tasks:
            task.cancel()


async def written(recorder: EventRecorder) -> None:
    while recorder.pending:
        await asyncio.sleep(0.001)


async def test_an_event_is_written_as_the_kubelet_writes_it(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time) as recorder:
        recorder.record(POD, type_="Warning", reason="Failed", message="no room")
        await written(recorder)
    (event,) = server.objects(EVENTS)
    name = event["metadata"]["name"]
    assert event["metadata"]["namespace"] == "farm"
    assert name.startswith("a.")
    assert abs(int(name.removeprefix("a."), 16) - int(START.timestamp() * 1e9)) < 10_000
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "a",
        "namespace": "farm",
        "uid": "u1",
    }
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-02T03:04:05Z"
    assert event["source"] == {"component": "fita", "host": "gw"}
    assert (event["reportingComponent"], event["reportingInstance"]) == ("fita", "gw")
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Warning",
        "Failed",
        "no room",
        1,
    )


async def test_events_about_what_has_no_namespace_are_in_default(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time) as recorder:
        about = reference(NODES, ObjectMeta(name="n1", uid="u2"))
        recorder.record(about, reason="NodeReady", message="ready")
        part = reference(PODS, ObjectMeta(name="p", namespace="x"), field_path="spec.containers{main}")
        recorder.record(part, reason="Started", message="started")
        await written(recorder)
    first, second = server.objects(EVENTS)
    assert (first["metadata"]["namespace"], first["involvedObject"]["kind"]) == ("default", "Node")
    assert second["involvedObject"]["fieldPath"] == "spec.containers{main}"


async def test_repeats_are_counted(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time) as recorder:
        recorder.record(POD, reason="Pulled", message="there")
        await written(recorder)
        for _ in range(4):
            time.now += timedelta(minutes=9)
            recorder.record(POD, reason="Pulled", message="there")
        recorder.record(POD, reason="Pulled", message="somewhere else")
        await written(recorder)
    events = {event["message"]: event for event in server.objects(EVENTS)}
    assert events["there"]["count"] == 5
    assert events["there"]["firstTimestamp"] == "2026-01-02T03:04:05Z"
    assert events["there"]["lastTimestamp"] == "2026-01-02T03:40:05Z"
    assert events["somewhere else"]["count"] == 1
    assert len(server.requests) == 3


async def test_after_the_window_it_is_another_event(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time) as recorder:
        recorder.record(POD, reason="Pulled", message="there")
        await written(recorder)
        time.now += timedelta(minutes=11)
        recorder.record(POD, reason="Pulled", message="there")
        await written(recorder)
    assert [event["count"] for event in server.objects(EVENTS)] == [1, 1]


async def test_many_messages_for_one_reason_share_an_event(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time) as recorder:
        for number in range(MAX_SIMILAR + 5):
            recorder.record(POD, reason="Failed", message=f"attempt {number}")
            await written(recorder)
        recorder.record(POD, reason="Failed", message="attempt 0")
        recorder.record(POD, reason="Other", message="attempt 99")
        await written(recorder)
    events = {event["message"]: event["count"] for event in server.objects(EVENTS)}
    assert len(events) == MAX_SIMILAR + 2
    assert events[f"(combined from similar events): attempt {MAX_SIMILAR + 4}"] == 5
    assert events["attempt 0"] == 2
    assert events["attempt 99"] == 1


async def test_an_event_that_the_server_forgot_is_written_again(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time) as recorder:
        recorder.record(POD, reason="Pulled", message="there")
        await written(recorder)
        server.remove(EVENTS, server.objects(EVENTS)[0]["metadata"]["name"], "farm")
        time.now += timedelta(minutes=5)
        recorder.record(POD, reason="Pulled", message="there")
        await written(recorder)
    (event,) = server.objects(EVENTS)
    assert event["count"] == 2


async def test_events_wait_for_a_server_that_is_away(server: FakeApiServer, time: Time) -> None:
    await server.stop()
    with structlog.testing.capture_logs() as logs:
        async with recording(server, time) as recorder:
            recorder.record(POD, reason="Pulled", message="there")
            recorder.record(POD, reason="Pulled", message="there")
            while not logs:
                await asyncio.sleep(0.001)
            assert recorder.pending == 1
            server.fail(500)
            await server.start()
            await written(recorder)
            assert recorder.dropped == 0
    (event,) = server.objects(EVENTS)
    assert event["count"] == 2
    assert [entry["event"] for entry in logs] == ["events wait", "events are written again"]


async def test_a_lost_answer_makes_no_second_event(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time, run=False) as recorder:
        recorder.record(POD, reason="Pulled", message="there")
        (series,) = recorder._series.values()
        server.put(EVENTS, {"metadata": {"name": series.name, "namespace": "farm"}, "count": 1})
        async with asyncio.TaskGroup() as group:
            task = group.create_task(recorder.run())
            recorder.record(POD, reason="Pulled", message="there")
            await written(recorder)
            task.cancel()
    (event,) = server.objects(EVENTS)
    assert event["count"] == 2


async def test_a_refused_event_is_given_up(server: FakeApiServer, time: Time) -> None:
    server.fail(403, reason="Forbidden", message="namespace farm is being terminated")
    with structlog.testing.capture_logs() as logs:
        async with recording(server, time) as recorder:
            recorder.record(POD, reason="Pulled", message="there")
            await written(recorder)
            assert recorder.dropped == 1
    assert server.objects(EVENTS) == []
    assert logs[0]["event"] == "event refused"


async def test_more_events_than_can_wait_are_dropped(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time, run=False) as recorder:
        for number in range(MAX_PENDING + 50):
            about = ObjectReference(api_version="v1", kind="Pod", name=f"p{number}", namespace="farm")
            recorder.record(about, reason="Pulled", message="there")
        assert (recorder.pending, recorder.dropped) == (MAX_PENDING, 50)
        recorder.record(POD, reason="Pulled", message="there")
        assert recorder.dropped == 51
        first = ObjectReference(api_version="v1", kind="Pod", name="p0", namespace="farm")
        recorder.record(first, reason="Pulled", message="there")
        assert recorder.dropped == 51


async def test_memory_is_bounded(server: FakeApiServer, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_module, "MAX_REMEMBERED", 10)
    async with recording(server, time) as recorder:
        for number in range(30):
            recorder.record(POD, reason=f"Reason{number}", message="there")
            await written(recorder)
        assert len(recorder._series) == len(recorder._similar) == 10


async def test_long_names_and_messages_fit(server: FakeApiServer, time: Time) -> None:
    async with recording(server, time) as recorder:
        about = ObjectReference(api_version="v1", kind="Pod", name="x" * 253, namespace="farm")
        recorder.record(about, reason="Pulled", message="y" * 5000)
        await written(recorder)
    (event,) = server.objects(EVENTS)
    assert len(event["metadata"]["name"]) == 253
    assert len(event["message"]) == 1024
    assert event["message"].endswith("…")
