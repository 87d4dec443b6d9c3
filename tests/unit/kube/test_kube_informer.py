from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import structlog

import fita.kube.informer as informer_module
from fakes.api_server import FakeApiServer
from fita.base.backoff import Backoff
from fita.kube.client import KubernetesClient
from fita.kube.informer import Informer
from fita.kube.resource import PODS
from fita.model.kubernetes import ObjectMeta, Pod

Change = tuple[str, str | None, str | None]


def pod(name: str, node: str = "", **labels: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": []}}


class Trace:
    """What a listener was told: key, old and new node, and a way to wait for it."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._told = asyncio.Condition()
        self._loop = asyncio.get_running_loop()

    def __call__(self, key: str, old: Pod | None, new: Pod | None) -> None:
        self.changes.append((key, old and old.spec.node_name, new and new.spec.node_name))

    def take(self) -> list[Change]:
        taken, self.changes = self.changes, []
        return taken


async def until(condition) -> None:
    """Return when `condition()` holds; the test's own deadline ends the wait."""
    while not condition():
        await asyncio.sleep(0.001)


@asynccontextmanager
async def informing(server: FakeApiServer, **options) -> AsyncIterator[tuple[Informer[Pod], Trace]]:
    async with asyncio.timeout(20), KubernetesClient(server.access) as client, asyncio.TaskGroup() as group:
        informer = Informer(client, PODS, Pod, backoff=lambda: Backoff(initial_s=0.001, limit_s=0.01), **options)
        trace = Trace()
        informer.add_listener(trace)
        task = group.create_task(informer.run())
        await informer.wait_synced()
        yield informer, trace
        task.cancel()


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as started:
        yield started


async def test_lists_then_follows(server: FakeApiServer) -> None:
    server.put(PODS, pod("a", "n1"))
    async with informing(server) as (informer, trace):
        assert informer.synced
        assert trace.take() == [("default/a", None, "n1")]
        server.put(PODS, pod("b", "n1"))
        server.put(PODS, pod("a", "n2"))
        server.remove(PODS, "a", "default")
        await until(lambda: len(trace.changes) == 3)
        assert trace.take() == [("default/b", None, "n1"), ("default/a", "n1", "n2"), ("default/a", "n2", None)]
        assert list(informer.items()) == ["default/b"]
        assert informer.get("default/b").spec.node_name == "n1"
        assert informer.get("default/a") is None


async def test_goes_on_after_the_end_of_a_watch_without_listing(server: FakeApiServer) -> None:
    async with informing(server) as (_, trace):
        for round_ in range(1, 6):
            await server.wait_opened(round_)
            server.put(PODS, pod(f"p{round_}"))
            await until(lambda: len(trace.changes) == 1)
            server.end_watches()
            assert [key for key, _, _ in trace.take()] == [f"default/p{round_}"]
        await server.wait_opened(6)
    lists = [request for request in server.requests if "watch" not in request.query]
    assert len(lists) == 1


async def test_hears_what_changed_between_two_watches(server: FakeApiServer) -> None:
    async with informing(server) as (_, trace):
        await server.wait_opened(1)
        server.put(PODS, pod("a", "n1"))
        await until(lambda: trace.changes)
        trace.take()
        server.end_watches()
        server.put(PODS, pod("a", "n2"))
        server.put(PODS, pod("b", "n1"))
        await until(lambda: len(trace.changes) == 2)
        assert trace.take() == [("default/a", "n1", "n2"), ("default/b", None, "n1")]


async def test_bookmarks_move_the_version_on(server: FakeApiServer) -> None:
    async with informing(server) as (informer, _):
        await server.wait_opened(1)
        server.store.version = 5000
        server.send_bookmarks()
        await until(lambda: informer._resource_version == "5000")
        server.end_watches()
        await server.wait_opened(2)
        assert server.requests[-1].query["resourceVersion"] == "5000"


@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_version_too_old_tells_the_difference(server: FakeApiServer, in_stream: bool) -> None:
    for name in ("kept", "changed", "gone", "made-again"):
        server.put(PODS, pod(name, "n1"))
    async with informing(server) as (informer, trace):
        await server.wait_opened(1)
        trace.take()
        kept = informer.get("default/kept")
        if not in_stream:
            server.fail(410, reason="Expired", path="watch=true")
        server.break_watches()
        server.put(PODS, pod("changed", "n2"))
        server.remove(PODS, "gone", "default")
        server.remove(PODS, "made-again", "default")
        server.put(PODS, pod("made-again", "n3"))
        server.put(PODS, pod("new", "n1"))
        server.forget_history()
        await until(lambda: len(trace.changes) == 5)
        assert sorted(trace.take(), key=str) == sorted(
            [
                ("default/changed", "n1", "n2"),
                ("default/gone", "n1", None),
                ("default/made-again", "n1", None),
                ("default/made-again", None, "n3"),
                ("default/new", None, "n1"),
            ],
            key=str,
        )
        assert informer.get("default/kept") is kept


async def test_keeps_its_state_while_the_server_is_away(server: FakeApiServer) -> None:
    server.put(PODS, pod("a", "n1"))
    async with informing(server) as (informer, trace):
        await server.wait_opened(1)
        assert informer.connected
        trace.take()
        with structlog.testing.capture_logs() as logs:
            await server.stop()
            await until(lambda: not informer.connected and informer._backoff.attempts > 5)
            assert informer.synced
            assert informer.get("default/a") is not None
            assert trace.take() == []
            server.put(PODS, pod("b", "n1"))
            await server.start()
            await until(lambda: trace.changes)
        assert trace.take() == [("default/b", None, "n1")]
        assert informer.connected
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("cannot follow", "warning"),
        ("following again", "info"),
    ]


async def test_starts_before_the_server_does(server: FakeApiServer) -> None:
    server.put(PODS, pod("a", "n1"))
    await server.stop()
    async with asyncio.timeout(20), KubernetesClient(server.access) as client, asyncio.TaskGroup() as group:
        informer = Informer(client, PODS, Pod, backoff=lambda: Backoff(initial_s=0.001, limit_s=0.01))
        task = group.create_task(informer.run())
        with structlog.testing.capture_logs():
            await until(lambda: informer._backoff.attempts > 3)
            assert not informer.synced
            await server.start()
            await informer.wait_synced()
        assert list(informer.items()) == ["default/a"]
        task.cancel()
    assert not informer.connected


async def test_refusals_do_not_end_it(server: FakeApiServer) -> None:
    server.fail(403, reason="Forbidden", times=3)
    server.fail(500, times=2, path="watch=true")
    with structlog.testing.capture_logs():
        async with informing(server) as (informer, trace):
            server.put(PODS, pod("a"))
            await until(lambda: trace.changes)
            assert informer.connected


async def test_a_failing_listener_keeps_nobody_from_hearing(server: FakeApiServer) -> None:
    async with informing(server) as (informer, trace):

        def broken(key: str, old: Pod | None, new: Pod | None) -> None:
            raise ValueError("broken")

        later = Trace()
        informer.add_listener(broken)
        informer.add_listener(later)
        with structlog.testing.capture_logs() as logs:
            server.put(PODS, pod("a", "n1"))
            server.put(PODS, pod("b", "n1"))
            await until(lambda: len(later.changes) == 2)
        assert later.changes == trace.changes
    assert [(entry["event"], entry["key"]) for entry in logs] == [
        ("listener failed", "default/a"),
        ("listener failed", "default/b"),
    ]


async def test_a_late_listener_hears_what_is_there(server: FakeApiServer) -> None:
    server.put(PODS, pod("a", "n1"))
    async with informing(server) as (informer, _):
        late = Trace()
        informer.add_listener(late)
        assert late.changes == [("default/a", None, "n1")]


async def test_selectors_reach_the_server(server: FakeApiServer) -> None:
    server.put(PODS, pod("a", "n1", app="x"))
    server.put(PODS, pod("b", "n1", app="y"))
    server.put(PODS, pod("c", "n2", app="x"))
    selectors = {"namespace": "default", "label_selector": "app=x", "field_selector": "spec.nodeName=n1"}
    async with informing(server, **selectors) as (informer, trace):
        assert list(informer.items()) == ["default/a"]
        trace.take()
        server.put(PODS, pod("a", "n1", app="z"))
        await until(lambda: trace.changes)
        assert trace.take() == [("default/a", "n1", None)]


class Strict(msgspec.Struct, frozen=True):
    """A type that not every object satisfies."""

    metadata: ObjectMeta
    spec: dict[str, int]


async def test_an_object_that_is_not_understood_keeps_its_last_state(server: FakeApiServer) -> None:
    def counted(name: str, count: object) -> dict[str, object]:
        return {"metadata": {"name": name, "namespace": "default"}, "spec": {"count": count}}

    server.put(PODS, counted("good", 1))
    server.put(PODS, counted("bad", "many"))
    async with asyncio.timeout(20), KubernetesClient(server.access) as client, asyncio.TaskGroup() as group:
        informer = Informer(client, PODS, Strict, backoff=lambda: Backoff(initial_s=0.001, limit_s=0.01))
        with structlog.testing.capture_logs() as logs:
            task = group.create_task(informer.run())
            await informer.wait_synced()
            assert list(informer.items()) == ["default/good"]
            server.put(PODS, counted("good", "many"))
            await until(lambda: len([entry for entry in logs if entry["event"] == "object not understood"]) == 2)
            assert informer.get("default/good").spec == {"count": 1}
            await server.wait_opened(1)
            server.expire_watches()
            await server.wait_opened(2)
            assert informer.get("default/good").spec == {"count": 1}
            server.put(PODS, counted("bad", 2))
            await until(lambda: informer.get("default/bad") is not None)
        task.cancel()
    warning = next(entry for entry in logs if entry["event"] == "object not understood")
    assert warning["key"] == "default/bad"
    assert "$.spec" in warning["error"]


async def test_items_is_a_picture_of_a_moment(server: FakeApiServer) -> None:
    server.put(PODS, pod("a"))
    async with informing(server) as (informer, trace):
        before = informer.items()
        assert informer.items() is before
        server.put(PODS, pod("b"))
        await until(lambda: len(trace.changes) == 2)
        assert list(before) == ["default/a"]
        assert list(informer.items()) == ["default/a", "default/b"]
        with pytest.raises(TypeError):
            before["default/c"] = before["default/a"]


async def test_a_server_that_ends_every_watch_at_once_is_asked_with_growing_delays(
    server: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informer_module, "SHORT_WATCH_S", 60.0)
    with structlog.testing.capture_logs():
        async with informing(server) as (informer, _):
            for round_ in range(1, 4):
                await server.wait_opened(round_)
                server.end_watches()
            await until(lambda: informer._backoff.attempts == 3)
    assert len([request for request in server.requests if "watch" not in request.query]) == 1
