from __future__ import annotations

import asyncio
import ssl
from contextlib import aclosing

import pytest

import fita.kube.client as client_module
from fakes.api_server import VERSION, FakeApiServer
from fita.kube.access import ClusterAccess
from fita.kube.client import KubernetesClient, PatchStrategy
from fita.kube.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ConnectionFailedError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubeError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)
from fita.kube.resource import DEVICES, NODES, PODS

POD = {"metadata": {"name": "a", "labels": {"app": "x"}}, "spec": {"nodeName": "n1", "containers": []}}


@pytest.fixture
async def server():
    async with FakeApiServer() as started:
        yield started


@pytest.fixture
async def client(server: FakeApiServer):
    async with KubernetesClient(server.access) as opened:
        yield opened


def pod(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": {"containers": []}}


async def test_creates_reads_changes_and_deletes(server: FakeApiServer, client: KubernetesClient) -> None:
    created = await client.create(PODS, POD, namespace="default")
    assert created["metadata"]["uid"]
    assert await client.get(PODS, "a", namespace="default") == created
    changed = await client.patch(PODS, "a", {"metadata": {"labels": {"app": None}}}, namespace="default")
    assert changed["metadata"]["labels"] == {}
    await client.delete(PODS, "a", namespace="default", grace_period_seconds=0)
    with pytest.raises(NotFoundError) as caught:
        await client.get(PODS, "a", namespace="default")
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")
    assert server.requests[0].query == {"fieldManager": "fita-gateway"}


async def test_an_object_without_a_namespace(client: KubernetesClient) -> None:
    await client.create(NODES, {"metadata": {"name": "n1"}})
    assert [node["metadata"]["name"] for node in (await client.list(NODES)).items] == ["n1"]


async def test_every_patch_strategy_has_its_media_type(server: FakeApiServer, client: KubernetesClient) -> None:
    server.put(NODES, {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "A", "status": "True"}]}})
    bodies = {
        PatchStrategy.MERGE: {"metadata": {"labels": {"a": "1"}}},
        PatchStrategy.STRATEGIC: {"metadata": {"labels": {"b": "1"}}},
        PatchStrategy.JSON: [{"op": "add", "path": "/metadata/labels/c", "value": "1"}],
        PatchStrategy.APPLY: {"metadata": {"name": "n", "labels": {"d": "1"}}},
    }
    for strategy, body in bodies.items():
        await client.patch(NODES, "n", body, strategy=strategy, force=True)
        sent = server.requests[-1]
        assert sent.headers["Content-Type"] == strategy.value
        assert sent.query.get("force") == ("true" if strategy is PatchStrategy.APPLY else None)
    assert server.get(NODES, "n")["metadata"]["labels"] == {"a": "1", "b": "1", "c": "1", "d": "1"}


async def test_a_status_is_changed_by_its_subresource(server: FakeApiServer, client: KubernetesClient) -> None:
    server.put(NODES, {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "A", "status": "True"}]}})
    conditions = {"status": {"conditions": [{"type": "B", "status": "True"}]}, "spec": {"unschedulable": True}}
    changed = await client.patch(NODES, "n", conditions, subresource="status", strategy=PatchStrategy.STRATEGIC)
    assert [condition["type"] for condition in changed["status"]["conditions"]] == ["A", "B"]
    assert "spec" not in changed


async def test_preconditions_conflict(server: FakeApiServer, client: KubernetesClient) -> None:
    server.put(NODES, {"metadata": {"name": "n"}})
    with pytest.raises(ConflictError):
        await client.patch(NODES, "n", {"metadata": {"resourceVersion": "1"}})
    with pytest.raises(ConflictError):
        await client.delete(NODES, "n", uid="another")
    assert server.get(NODES, "n") is not None


async def test_a_pod_on_a_node_is_deleted_in_two_steps(server: FakeApiServer, client: KubernetesClient) -> None:
    created = await client.create(PODS, POD, namespace="default")
    await client.delete(PODS, "a", namespace="default")
    assert server.get(PODS, "a", "default")["metadata"]["deletionGracePeriodSeconds"] == 30
    uid = created["metadata"]["uid"]
    await client.delete(PODS, "a", namespace="default", uid=uid, grace_period_seconds=0)
    assert server.get(PODS, "a", "default") is None


async def test_lists_by_namespace_label_and_field(server: FakeApiServer, client: KubernetesClient) -> None:
    server.put(PODS, pod("a", app="x"))
    server.put(PODS, pod("b", app="y"))
    server.put(PODS, {**pod("c", app="x"), "metadata": {"name": "c", "namespace": "other"}})
    listed = await client.list(PODS, namespace="default")
    assert [item["metadata"]["name"] for item in listed.items] == ["a", "b"]
    assert {(item["apiVersion"], item["kind"]) for item in listed.items} == {("v1", "Pod")}
    assert len((await client.list(PODS)).items) == 3
    assert len((await client.list(PODS, label_selector="app=x")).items) == 1
    assert len((await client.list(PODS, field_selector="metadata.name=b")).items) == 1
    assert listed.resource_version == str(server.store.version)


async def test_reads_all_pages(
    server: FakeApiServer, client: KubernetesClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE_ITEMS", 2)
    for number in range(5):
        server.put(PODS, pod(f"p{number}"))
    listed = await client.list(PODS)
    assert [item["metadata"]["name"] for item in listed.items] == ["p0", "p1", "p2", "p3", "p4"]
    assert [request.query.get("limit") for request in server.requests] == ["2", "2", "2"]


async def test_a_list_that_outlives_its_version_is_read_in_one_piece(
    server: FakeApiServer, client: KubernetesClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE_ITEMS", 2)
    for number in range(5):
        server.put(PODS, pod(f"p{number}"))
    server.fail(410, reason="Expired", path="continue=")
    assert len((await client.list(PODS)).items) == 5
    assert "limit" not in server.requests[-1].query
    server.fail(410, reason="Expired", times=2, path="/pods")
    with pytest.raises(GoneError):
        await client.list(PODS)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "Unauthorized", UnauthorizedError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (410, "Expired", GoneError),
        (422, "Invalid", InvalidError),
        (429, "TooManyRequests", TooManyRequestsError),
        (500, "InternalError", ApiError),
    ],
)
async def test_refusals_have_types(
    server: FakeApiServer, client: KubernetesClient, status: int, reason: str, kind: type[ApiError]
) -> None:
    server.fail(status, reason=reason, message="because")
    with pytest.raises(ApiError, match="because") as caught:
        await client.get(NODES, "n")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert isinstance(caught.value, KubeError)


async def test_a_refusal_that_is_not_kubernetes_keeps_its_words(
    server: FakeApiServer, client: KubernetesClient
) -> None:
    server.fail(502, message="")
    with pytest.raises(ApiError, match="502"):
        await client.version()


async def test_comes_back_when_the_server_asks_for_that(server: FakeApiServer, client: KubernetesClient) -> None:
    server.fail(429, reason="TooManyRequests", retry_after="0.01", times=2)
    server.fail(503, reason="ServiceUnavailable", retry_after="0.01")
    assert await client.version() == VERSION
    assert len(server.requests) == 4


async def test_gives_up_when_the_server_asks_too_often(server: FakeApiServer, client: KubernetesClient) -> None:
    server.fail(429, reason="TooManyRequests", retry_after="0.01", times=100)
    with pytest.raises(TooManyRequestsError) as caught:
        await client.version()
    assert caught.value.retry_after_s == 0.01
    assert len(server.requests) == 5


async def test_no_retry_where_the_server_does_not_ask(server: FakeApiServer, client: KubernetesClient) -> None:
    server.fail(409, reason="Conflict", retry_after="0.01")
    with pytest.raises(ConflictError):
        await client.version()
    server.fail(500)
    with pytest.raises(ApiError):
        await client.version()
    assert len(server.requests) == 2


async def test_bounds_the_requests_under_way(server: FakeApiServer) -> None:
    server.hold()
    async with KubernetesClient(server.access, max_in_flight=3) as client, asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(client.version())
        while server.in_flight < 3:
            await asyncio.sleep(0)
        server.release()
    assert server.most_in_flight == 3
    assert len(server.requests) == 10


async def test_a_request_that_is_given_up_frees_its_place(server: FakeApiServer) -> None:
    server.hold()
    async with KubernetesClient(server.access, max_in_flight=1) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.version()
        server.release()
        async with asyncio.timeout(5):
            assert await client.version() == VERSION


async def test_keeps_connections(server: FakeApiServer, client: KubernetesClient) -> None:
    for _ in range(5):
        await client.version()
    assert len({request.peer for request in server.requests}) == 1


async def test_nobody_there() -> None:
    async with FakeApiServer() as server:
        access = server.access
    async with KubernetesClient(access) as client:
        with pytest.raises(ConnectionFailedError, match="cannot be reached") as caught:
            await client.version()
    assert access.server in caught.value.message
    assert caught.value.hint


async def test_a_failed_connection_is_told_in_words() -> None:
    async with FakeApiServer() as server:
        access = ClusterAccess(server=server.url.replace("http:", "https:"), tls=ssl.create_default_context())
        async with KubernetesClient(access) as client:
            with pytest.raises(ConnectionFailedError) as caught:
                await client.version()
            assert caught.value.message.startswith(f"{access.server} cannot be reached: no TLS can be agreed on: ")
    async with KubernetesClient(access) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.version()
    assert caught.value.message == f"{access.server} cannot be reached: Connection refused"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be reached"),
        (b"", "ended the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "not Kubernetes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{", "ended the connection"),
    ],
)
async def test_what_answers_is_no_api_server(answer: bytes, problem: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with KubernetesClient(ClusterAccess(server=f"http://127.0.0.1:{port}")) as client:
            with pytest.raises(ConnectionFailedError, match=problem):
                await client.version()


async def test_through_a_proxy() -> None:
    asked = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n")).decode().strip())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"gitVersion":"v9"}')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listener:
        proxy = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        access = ClusterAccess(server="http://cluster.example:8080/k8s", proxy=proxy)
        async with KubernetesClient(access) as client:
            assert await client.version() == "v9"
    assert asked == ["GET http://cluster.example:8080/k8s/version HTTP/1.1"]


async def test_use_outside_of_its_context(server: FakeApiServer) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await KubernetesClient(server.access).version()


async def test_watches_changes_from_a_version_on(server: FakeApiServer, client: KubernetesClient) -> None:
    server.put(PODS, pod("a", app="x"))
    listed = await client.list(PODS)
    server.put(PODS, pod("b", app="x"))
    server.put(PODS, pod("b", app="y"))
    server.remove(PODS, "a", "default")
    seen = []
    async with asyncio.timeout(10):
        watch = client.watch(PODS, label_selector="app=x", resource_version=listed.resource_version)
        async with aclosing(watch):
            async for event in watch:
                seen.append((event.type, event.object["metadata"].get("name")))
                if len(seen) == 3:
                    server.send_bookmarks()
                if event.type == "BOOKMARK":
                    break
    assert seen == [("ADDED", "b"), ("DELETED", "b"), ("DELETED", "a"), ("BOOKMARK", None)]
    query = server.requests[-1].query
    assert query["allowWatchBookmarks"] == "true"
    assert int(query["timeoutSeconds"]) > 60


async def test_a_clean_end_of_a_watch_is_no_error(server: FakeApiServer, client: KubernetesClient) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:

        async def end() -> None:
            await server.wait_opened(1)
            server.end_watches()

        group.create_task(end())
        assert [event async for event in client.watch(PODS, resource_version="100")] == []


async def test_a_broken_watch_is_an_error(server: FakeApiServer, client: KubernetesClient) -> None:
    async with asyncio.timeout(10):
        async with asyncio.TaskGroup() as group:

            async def end() -> None:
                await server.wait_opened(1)
                server.break_watches()

            group.create_task(end())
            with pytest.raises(ConnectionFailedError, match="ended the connection"):
                [event async for event in client.watch(PODS, resource_version="100")]


@pytest.mark.parametrize("in_stream", [True, False])
async def test_a_watch_from_a_version_that_is_too_old(
    server: FakeApiServer, client: KubernetesClient, in_stream: bool
) -> None:
    if in_stream:
        server.forget_history()
    else:
        server.fail(410, reason="Expired")
    with pytest.raises(GoneError):
        [event async for event in client.watch(PODS, resource_version="100")]


async def test_objects_larger_than_any_buffer(server: FakeApiServer, client: KubernetesClient) -> None:
    version = str(server.store.version)
    server.put(PODS, {**pod("big"), "spec": {"text": "x" * 3_000_000}})
    async with asyncio.timeout(10):
        watch = client.watch(PODS, resource_version=version)
        async with aclosing(watch):
            event = await anext(watch)
    assert len(event.object["spec"]["text"]) == 3_000_000


async def test_custom_resources(server: FakeApiServer, client: KubernetesClient) -> None:
    await client.patch(DEVICES, "d1", {"metadata": {"name": "d1"}, "spec": {"a": 1}}, strategy=PatchStrategy.APPLY)
    assert server.requests[0].path == "/apis/fita.fhp.pt/v1alpha1/devices/d1"
    with pytest.raises(ApiError, match="strategic"):
        await client.patch(DEVICES, "d1", {}, strategy=PatchStrategy.STRATEGIC)
