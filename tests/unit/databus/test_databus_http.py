from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from test_databus_store import store_of, value_of

from fita.base.errors import FitaError
from fita.databus.http import DataBusServer
from fita.databus.metric import make_registry
from fita.databus.store import OutputStore


@asynccontextmanager
async def serving(store: OutputStore, not_ready: str | None = None) -> AsyncIterator[str]:
    registry = make_registry(
        store,
        gauges={"fita_devices": ("Registered devices", lambda: 3.0)},
        counters={"fita_registrations_total": ("Registrations", lambda: 7)},
    )
    server = DataBusServer(store, registry=registry, not_ready=lambda: not_ready)
    host, port = await server.open("127.0.0.1", 0)
    try:
        yield f"http://{host}:{port}"
    finally:
        await server.close()


async def test_lists_the_latest_outputs() -> None:
    store = store_of()
    store.update(value_of(21.5))
    async with serving(store) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/v1/outputs") as response:
            items = (await response.json())["items"]
    assert [(item["service"], item["key"], item["value"], item["unit"]) for item in items] == [
        ("average", "t", 21.5, "Cel")
    ]


async def test_streams_the_present_and_then_every_new_value() -> None:
    store = store_of()
    store.update(value_of(1.0))
    seen = []
    async with asyncio.timeout(10), serving(store) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/v1/outputs?watch=1") as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            async for line in response.content:
                if line.startswith(b"data: "):
                    seen.append(json.loads(line[6:])["value"])
                    if len(seen) == 3:
                        break
                    store.update(value_of(seen[-1] + 1))
    assert seen == [1.0, 2.0, 3.0]


async def test_exposes_values_and_their_times_to_prometheus() -> None:
    store = store_of()
    store.update(value_of(21.5))
    async with serving(store) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/metrics") as response:
            text = await response.text()
    labels = 'device="lamp1",key="t",namespace="",node="",pod="",service="average",unit="Cel"'
    assert "fita_devices 3.0" in text
    assert "# TYPE fita_registrations_total counter\nfita_registrations_total 7.0" in text
    values = [line for line in text.splitlines() if line.startswith("fita_output_value{")]
    assert len(values) == 1
    assert sorted(values[0].split("{")[1].split("}")[0].split(",")) == labels.split(",")
    assert values[0].endswith(" 21.5")
    assert any(
        line.startswith("fita_output_timestamp_seconds{") and float(line.rsplit(" ", 1)[1]) == 1767323045.678
        for line in text.splitlines()
    )


@pytest.mark.parametrize(("reason", "status"), [(None, 200), ("Kubernetes is not reached", 503)])
async def test_readiness_names_what_is_missing(reason: str | None, status: int) -> None:
    async with serving(store_of(), reason) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/readyz") as response:
            assert response.status == status
            assert await response.text() == (reason or "ok")
        async with session.get(f"{url}/healthz") as response:
            assert response.status == 200


async def test_a_port_in_use_is_named() -> None:
    async with serving(store_of()) as url:
        port = int(url.rsplit(":", 1)[1])
        registry = make_registry(store_of(), gauges={}, counters={})
        other = DataBusServer(store_of(), registry=registry, not_ready=lambda: None)
        with pytest.raises(FitaError, match=f"127.0.0.1:{port}.*--http-port"):
            await other.open("127.0.0.1", port)
