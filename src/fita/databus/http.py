"""The gateway's HTTP face.

===========================  ==============================================================
``GET /api/v1/outputs``      the latest value of every output, ``{"items": [...]}``
``GET .../outputs?watch=1``  the same, then every new value, as server-sent events
``GET /metrics``             Prometheus
``GET /healthz``             200 while the process lives
``GET /readyz``              200 when devices can register and Kubernetes is reached, else 503
===========================  ==============================================================

It changes nothing: there is no way to command a device here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from fita.base.errors import FitaError
from fita.databus.store import Output, OutputStore

KEEPALIVE_S = 15.0
"""A comment goes to a silent event stream this often, so that proxies do not close it."""


class DataBusServer:
    """Serves an `OutputStore`. `open` binds and returns the address, `run` serves until cancelled."""

    def __init__(
        self, store: OutputStore, *, registry: CollectorRegistry, not_ready: Callable[[], str | None]
    ) -> None:
        self._store = store
        self._registry = registry
        self._not_ready = not_ready
        app = web.Application()
        app.router.add_get("/api/v1/outputs", self._outputs)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen at `host`:`port` (0: any free port) and return the address bound."""
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, host, port)
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise FitaError(
                f"cannot listen for HTTP on {host}:{port}: {error.strerror}",
                hint="choose another port with --http-port",
            ) from error
        bound_host, bound_port, *_ = self._runner.addresses[0]
        return bound_host, bound_port

    async def close(self) -> None:
        """Close the listener and every stream; safe to call twice."""
        await self._runner.cleanup()

    async def _outputs(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch", "") in ("1", "true"):
            return await self._watch(request)
        body = msgspec.json.encode({"items": self._store.latest()})
        return web.Response(body=body, content_type="application/json")

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        with self._store.subscribe() as subscription:
            for output in self._store.latest():
                await response.write(_event(output))
            while True:
                try:
                    async with asyncio.timeout(KEEPALIVE_S):
                        event = _event(await subscription.get())
                except TimeoutError:
                    event = b": keep-alive\n\n"
                await response.write(event)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        reason = self._not_ready()
        return web.Response(text=reason or "ok", status=503 if reason else 200)


def _event(output: Output) -> bytes:
    return b"id: %d\nevent: output\ndata: %s\n\n" % (output.sequence, msgspec.json.encode(output))
