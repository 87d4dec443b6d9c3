"""The server role: from a request message to the handler and back to a response message.

Whatever goes wrong in between costs one answer: a handler's `ResponseError` is the answer, any other exception is
5.00 and an ERROR in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from fita.coap.code import Code
from fita.coap.errors import BadOptionError, PeerBusyError, ResponseError
from fita.coap.interfaces import Limits, Peer, Request, RequestHandler, Response
from fita.coap.message import option
from fita.coap.message.exchange import IncomingRequest
from fita.coap.message.format import CON
from fita.coap.message.reliability import MessageLayer
from fita.coap.request.blockwise import LARGEST_BLOCK
from fita.coap.request.blockwise_server import BlockwiseServer
from fita.coap.request.mapping import read_request, response_options

log = structlog.get_logger(__name__)

_RETRY_AFTER_S = 5  # Max-Age of 5.03 (RFC 7252 section 5.9.3.4)
_PROXY_OPTIONS = frozenset({option.PROXY_URI, option.PROXY_SCHEME})
_BUSY = Response(code=Code.SERVICE_UNAVAILABLE, max_age_s=_RETRY_AFTER_S)
_FAULT = Response(code=Code.INTERNAL_SERVER_ERROR)
_UNKNOWN_METHOD = Response(code=Code.METHOD_NOT_ALLOWED)


class NotFoundHandler:
    """Serves nothing: an endpoint that only sends requests."""

    def handle(self, request: Request, peer: Peer) -> Response:
        del request, peer
        return Response(code=Code.NOT_FOUND)


class Server:
    """Hands requests to `handler` and sends what it answers. `spawn` runs asynchronous handlers."""

    def __init__(
        self,
        layer: MessageLayer,
        handler: RequestHandler,
        *,
        limits: Limits,
        lifetime_s: float,
        spawn: Callable[[Coroutine[None, None, None]], bool],
    ) -> None:
        self._layer = layer
        self._handler = handler
        self._limits = limits
        self._spawn = spawn
        self._blockwise = BlockwiseServer(layer.timers, limits, lifetime_s)
        self._at_work = 0

    def on_request(self, incoming: IncomingRequest, now: float) -> None:
        """Part of `MessageUser`."""
        message = incoming.message
        try:
            request = read_request(message)
        except BadOptionError as error:
            if message.type is CON:  # one that is not confirmable is ignored (RFC 7252 section 5.4.1)
                self._send(incoming, _bad_option(error), now)
            return
        if message.code > Code.IPATCH:
            self._send(incoming, _UNKNOWN_METHOD, now)
            return
        whole = request
        if request.options:
            assembled = self._blockwise.assemble(request, incoming.peer, now)
            if isinstance(assembled, Response):
                self._send(incoming, assembled, now)
                return
            whole = assembled
        try:
            response = self._handler.handle(whole, incoming.peer)
        except Exception as error:
            response = _answer_to(error, request)
        if isinstance(response, Response):
            self._answer(incoming, request, response, now)
        else:
            self._start(incoming, request, response, now)

    def _start(
        self, incoming: IncomingRequest, request: Request, response: Awaitable[Response], now: float
    ) -> None:
        if self._at_work < self._limits.handlers and self._spawn(self._await(incoming, request, response)):
            self._at_work += 1
            self._layer.postpone(incoming, now)
            return
        if isinstance(response, Coroutine):
            response.close()
        self._send(incoming, _BUSY, now)

    async def _await(self, incoming: IncomingRequest, request: Request, awaitable: Awaitable[Response]) -> None:
        loop = asyncio.get_running_loop()
        response = _BUSY
        try:
            async with asyncio.timeout(self._limits.handler_s) as deadline:
                response = await awaitable
        except Exception as error:
            if deadline.expired():
                log.warning("handler cancelled", path=request.path_text, peer=incoming.peer)
            else:
                response = _answer_to(error, request)
        finally:  # a cancelled handler is answered too: the peer need not wait for it
            self._at_work -= 1
            self._answer(incoming, request, response, loop.time())

    def _answer(self, incoming: IncomingRequest, request: Request, response: Response, now: float) -> None:
        """Send the handler's response in blocks, or 5.00 when it can not be sent."""
        try:
            if request.options or len(response.payload) > LARGEST_BLOCK:
                response = self._blockwise.serve(request, response, incoming.peer, now)
            self._send(incoming, response, now)
        except Exception as error:
            self._send(incoming, _answer_to(error, request), now)

    def _send(self, incoming: IncomingRequest, response: Response, now: float) -> None:
        try:
            self._layer.respond(
                incoming, response.code, options=response_options(response), payload=response.payload, now=now
            )
        except PeerBusyError as error:
            log.warning("response dropped", peer=incoming.peer, error=str(error))


def _answer_to(error: Exception, request: Request) -> Response:
    if isinstance(error, ResponseError):
        return Response(code=error.code, payload=error.diagnostic.encode())
    log.error("handler failed", method=str(request.method), path=request.path_text, exc_info=error)
    return _FAULT


def _bad_option(error: BadOptionError) -> Response:
    if error.number in _PROXY_OPTIONS:
        return Response(code=Code.PROXYING_NOT_SUPPORTED)
    return Response(code=Code.BAD_OPTION, payload=error.message.encode())
