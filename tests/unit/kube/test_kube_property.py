"""What holds for any input: lines at any fragmentation, errors from any body, an informer after any trouble."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.api_server import FakeApiServer
from fita.base.backoff import Backoff
from fita.kube.client import KubernetesClient
from fita.kube.errors import ApiError, ConnectionFailedError, api_error
from fita.kube.informer import Informer
from fita.kube.resource import PODS
from fita.kube.watch import LineSplitter
from fita.model.kubernetes import Pod

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no reason to fail."""

LINES = st.lists(st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line), max_size=10)


@untimed
@given(lines=LINES, tail=st.binary(max_size=5).filter(lambda tail: b"\n" not in tail), data=st.data())
def test_lines_at_any_fragmentation(lines: list[bytes], tail: bytes, data: st.DataObject) -> None:
    stream = b"".join(line + data.draw(st.sampled_from([b"\n", b"\n\n"])) for line in lines) + tail
    cuts = sorted(data.draw(st.lists(st.integers(min_value=0, max_value=len(stream)), max_size=10)))
    splitter = LineSplitter()
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [line for chunk in chunks for line in splitter.feed(chunk)] == lines


def test_a_line_without_an_end_is_refused() -> None:
    splitter = LineSplitter(max_line_bytes=100)
    splitter.feed(b"x" * 100)
    with pytest.raises(ConnectionFailedError, match="more than 100 bytes"):
        splitter.feed(b"x")
    with pytest.raises(ConnectionFailedError):
        LineSplitter(max_line_bytes=100).feed(b"a\n" + b"x" * 101)


STATUSES = st.fixed_dictionaries(
    {},
    optional={
        "reason": st.text() | st.none() | st.integers(),
        "message": st.text(),
        "code": st.integers(),
        "details": st.none() | st.dictionaries(st.sampled_from(["causes", "retryAfterSeconds"]), st.integers()),
    },
)


@untimed
@given(code=st.integers(min_value=300, max_value=599), body=st.binary() | STATUSES.map(msgspec.json.encode))
def test_any_refusal_becomes_an_error(code: int, body: bytes) -> None:
    error = api_error(code, body)
    assert isinstance(error, ApiError)
    assert error.status == code
    assert error.message


NAMES = st.sampled_from(["a", "b", "c", "d"])
TROUBLE = st.sampled_from(
    ["end_watches", "break_watches", "expire_watches", "forget_history", "send_bookmarks", "fail", "restart"]
)
STEPS = st.lists(
    st.tuples(st.just("put"), NAMES, st.integers(min_value=0, max_value=3))
    | st.tuples(st.just("remove"), NAMES)
    | st.tuples(TROUBLE)
    | st.tuples(st.just("wait")),
    max_size=25,
)


@settings(untimed, max_examples=25)
@given(steps=STEPS)
def test_an_informer_arrives_at_the_truth_after_any_trouble(steps: list[tuple[object, ...]]) -> None:
    with structlog.testing.capture_logs():
        asyncio.run(follow(steps))


async def follow(steps: list[tuple[object, ...]]) -> None:
    """Take the steps beside a running informer, then hold it and what it told against the server."""
    told: dict[str, tuple[str, str]] = {}
    problems: list[str] = []

    def listen(key: str, old: Pod | None, new: Pod | None) -> None:
        if told.get(key) != (old and (old.metadata.uid, old.spec.node_name)):
            problems.append(f"{key} was {told.get(key)}, not {old}")
        if new is None:
            told.pop(key, None)
        else:
            told[key] = (new.metadata.uid, new.spec.node_name)

    async with asyncio.timeout(30), FakeApiServer() as server, KubernetesClient(server.access) as client:
        informer = Informer(client, PODS, Pod, backoff=lambda: Backoff(initial_s=0.001, limit_s=0.005))
        informer.add_listener(listen)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(informer.run())
            for step in steps:
                await take(server, step)
            while not (informer.synced and state(informer) == truth(server)):
                await asyncio.sleep(0.001)
            task.cancel()
    assert not problems
    assert told == truth(server)


async def take(server: FakeApiServer, step: tuple[object, ...]) -> None:
    match step:
        case ("put", name, node):
            metadata = {"name": name, "namespace": "farm"}
            server.put(PODS, {"metadata": metadata, "spec": {"nodeName": f"n{node}", "containers": []}})
        case ("remove", name):
            if server.get(PODS, name, "farm") is not None:
                server.remove(PODS, name, "farm")
        case ("fail",):
            server.fail(410, reason="Expired")
        case ("restart",):
            await server.stop()
            await server.start()
        case ("wait",):
            await asyncio.sleep(0.003)
        case (trouble,):
            getattr(server, trouble)()


def state(informer: Informer[Pod]) -> dict[str, tuple[str, str]]:
    return {key: (pod.metadata.uid, pod.spec.node_name) for key, pod in informer.items().items()}


def truth(server: FakeApiServer) -> dict[str, tuple[str, str]]:
    pods = server.objects(PODS)
    return {f"farm/{pod['metadata']['name']}": (pod["metadata"]["uid"], pod["spec"]["nodeName"]) for pod in pods}
