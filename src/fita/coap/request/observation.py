"""Observing resources of peers (RFC 7641) in the client role: registration, order of notifications, end.

A notification that carries only the first block of its representation is completed by fetching the rest
(RFC 7959 section 3.4). One fetch runs at a time: a newer whole representation overtakes it, a newer partial one
waits for its end, and only the newest waits.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine

import msgspec
import structlog

from fita.coap.code import Code
from fita.coap.errors import (
    BadOptionError,
    BlockwiseError,
    CoapError,
    EndpointClosedError,
    NotObservableError,
    ResponseError,
)
from fita.coap.interfaces import OnNotification, Peer, Request, Response
from fita.coap.message import option
from fita.coap.message.exchange import Exchange, Verdict
from fita.coap.message.format import Message
from fita.coap.request.blockwise import find_block, without_blocks
from fita.coap.request.client import Client, Waiter
from fita.coap.request.mapping import read_response

log = structlog.get_logger(__name__)

Spawn = Callable[[Coroutine[None, None, None]], bool]
"""Run in the background; False (and closed) when nothing runs any more. Must not raise, or everything ends."""

_REGISTER = 0
_DEREGISTER = 1
_HALF_OF_NUMBERS = 1 << 23
_ORDER_LIFETIME_S = 128.0  # after this a number says nothing about order any more


def is_newer(number: int, received_at: float, *, than: int, at: float) -> bool:
    """Whether a notification is newer than the one with the number `than` received `at` (RFC 7641 section 3.4)."""
    if received_at > at + _ORDER_LIFETIME_S:
        return True
    return 0 < number - than < _HALF_OF_NUMBERS or than - number > _HALF_OF_NUMBERS


class Registration:
    """A request to observe on its way. The response is handled at once, before a notification that follows it."""

    __slots__ = ("exchange", "future", "number_at_start", "observation")

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.number_at_start = observation.number
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exchange: Exchange

    @property
    def takes_separate_response(self) -> bool:
        """Whether a message with the token may be the response; without a promise it is a notification."""
        return not self.future.done() and (self.exchange.is_promised or self.observation.number is None)

    def answered(self, message: Message, now: float) -> None:
        self.observation.settle(self, message, now)

    def failed(self, error: CoapError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def succeeded(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class _Deregistration(Waiter):
    """Waits for the answer to a deregistration; notifications on their way come to nothing."""

    __slots__ = ()

    def receive(self, message: Message, now: float) -> Verdict:
        if any(number == option.OBSERVE for number, _ in message.options):
            return Verdict.NOTIFICATION
        return Waiter.receive(self, message, now)


class Observation:
    """One observed resource at one peer (RFC 7641). Made by `CoapEndpoint.observe`."""

    __slots__ = (
        "_accepted",
        "_client",
        "_delivered",
        "_fetching",
        "_notify",
        "_partial",
        "_received_at",
        "_registration",
        "_registry",
        "_token",
        "active",
        "number",
        "peer",
        "request",
    )

    def __init__(
        self,
        registry: ObservationRegistry,
        client: Client,
        token: bytes,
        *,
        peer: Peer,
        request: Request,
        notify: OnNotification,
    ) -> None:
        self.peer = peer
        self.request = request
        self.active = True  # False once cancelled, forgotten, or ended by the peer
        self.number: int | None = None  # of the newest notification, None before the peer has agreed
        self._registry = registry
        self._client = client
        self._token = token
        self._notify = notify
        self._registration: Registration | None = None
        self._received_at = 0.0
        self._accepted = 0  # the newest representation, counted as they came
        self._delivered = 0  # the newest one that the user has
        self._partial: Response | None = None
        self._fetching = False

    # What the user does

    async def renew(self) -> None:
        """Register again with the same token (RFC 7641 section 3.3.1). Raises like `CoapEndpoint.observe`.

        A renewal that got no answer leaves the observation as it was.
        """
        if not self.active:
            raise EndpointClosedError("the observation has ended", hint="observe again")
        await self.register()

    async def cancel(self) -> None:
        """Deregister at the peer (RFC 7641 section 3.6); no callback comes after this call began."""
        if not self.active:
            return
        self.forget()
        request = msgspec.structs.replace(self.request, observe=_DEREGISTER)
        await self._client.wait(_Deregistration(), self.peer, request, self._token)

    def forget(self) -> None:
        """End it here only: the peer's next notification is answered with RST, which ends it there."""
        if self.active:
            self._end(EndpointClosedError("the observation was given up"))

    # Registering

    async def register(self) -> None:
        """Send the registration and return when the peer has agreed and the representation is whole."""
        loop = asyncio.get_running_loop()
        registration = Registration(self)
        request = msgspec.structs.replace(self.request, observe=_REGISTER)
        registration.exchange = self._client.send(registration, self.peer, request, self._token, loop.time())
        self._registration = registration
        try:
            await registration.future
            if not self._fetching:
                await self._complete()
        except BaseException:
            # The peer may have registered us nevertheless, and counts from the start if it likes.
            self._received_at = -math.inf
            raise
        finally:
            if self._registration is registration:
                self._registration = None
            self._client.layer.end(registration.exchange, loop.time())
            self._complete_later()

    def settle(self, registration: Registration, message: Message, now: float) -> Verdict:
        """Take the response to a registration."""
        if registration.future.cancelled():
            return Verdict.TAKEN
        try:
            response = read_response(message)
        except BadOptionError as error:
            registration.failed(error)
            return Verdict.UNKNOWN
        if response.observe is None or not response.code.is_success:
            reason = _why_it_ended(response)
            registration.failed(reason)
            self._end(reason)
        else:
            # Some devices number from the start again: no reason to call it old unless a notification came since.
            undisturbed = self.number == registration.number_at_start
            registration.succeeded()
            self._accept(response, response.observe, now, surely_newer=undisturbed)
        return Verdict.TAKEN

    # Receiving

    def receive(self, message: Message, now: float) -> Verdict:
        """Part of `Receiver`: a notification, or the separate response to a registration."""
        registration = self._registration
        if registration is not None and registration.takes_separate_response:
            return self.settle(registration, message, now)
        try:
            response = read_response(message)
        except BadOptionError as error:
            self._finish(Response(code=Code.BAD_OPTION, payload=error.message.encode()))
            return Verdict.UNKNOWN
        if response.observe is None or not response.code.is_success:
            self._finish(response)
            return Verdict.TAKEN
        self._accept(response, response.observe, now, surely_newer=False)
        return Verdict.NOTIFICATION

    def _accept(self, response: Response, number: int, now: float, *, surely_newer: bool) -> None:
        last = self.number
        if not (surely_newer or last is None or is_newer(number, now, than=last, at=self._received_at)):
            return
        self.number = number
        self._received_at = now
        self._accepted += 1
        if _is_partial(response):
            self._partial = response
            self._complete_later()
        else:
            self._partial = None
            self._deliver(without_blocks(response), self._accepted)

    def _complete_later(self) -> None:
        """Fetch the rest in the background, unless `register` is about to."""
        registering = self._registration is not None and self._registration.future.done()
        if self._partial is not None and self.active and not self._fetching and not registering:
            self._fetching = self._registry.spawn(self._complete_in_background())

    async def _complete_in_background(self) -> None:
        try:
            await self._complete()
        except CoapError as error:
            if self.active:
                path = self.request.path_text
                log.warning("notification not completed", peer=self.peer, path=path, error=error.message)
        except Exception:  # a fault of ours must not end the endpoint
            log.exception("completing a notification failed", peer=self.peer, path=self.request.path_text)
        finally:
            self._complete_later()  # a newer one that came meanwhile

    async def _complete(self) -> None:
        """Fetch the rest of partial representations until the newest is whole."""
        self._fetching = True
        try:
            while self.active and self._partial is not None:
                first, self._partial = self._partial, None
                count = self._accepted
                whole = (await self._client.complete(self.peer, self.request, first)).checked()
                self._deliver(msgspec.structs.replace(whole, observe=first.observe), count)
        finally:
            self._fetching = False

    def _deliver(self, response: Response, count: int) -> None:
        """Unless a newer one was delivered, or the observation has ended."""
        if self.active and count > self._delivered:
            self._delivered = count
            self._call(response)

    def _call(self, response: Response) -> None:
        try:
            self._notify(response)
        except Exception:
            log.exception("notification callback failed", peer=self.peer, path=self.request.path_text)

    # Ending

    def _finish(self, last: Response) -> None:
        """The peer has ended it."""
        self._end(_why_it_ended(last))
        if _is_partial(last):
            last = Response(code=Code.REQUEST_ENTITY_INCOMPLETE)
        self._call(last)

    def _end(self, error: CoapError) -> None:
        self.active = False
        self._partial = None
        self._registry.remove(self, self._token)
        if self._registration is not None:
            self._registration.failed(error)


def _why_it_ended(response: Response) -> ResponseError:
    if response.code.is_success:
        return NotObservableError(response.code, "the peer does not observe this")
    return ResponseError(response.code, response.diagnostic)


def _is_partial(response: Response) -> bool:
    if not response.options:
        return False
    try:
        block = find_block(option.BLOCK2, response.options)
    except BlockwiseError:
        return True  # completing it will say what is wrong
    return block is not None and (block.more or block.number > 0)


class ObservationRegistry:
    """All observations of an endpoint, by token for messages and by peer for what happens to a peer."""

    def __init__(self, client: Client, spawn: Spawn) -> None:
        self.spawn = spawn
        self._client = client
        self._by_peer: dict[Peer, list[Observation]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_peer.values()))

    async def observe(self, peer: Peer, request: Request, notify: OnNotification) -> Observation:
        """See `CoapEndpoint.observe`."""
        token = self._client.new_token()
        observation = Observation(self, self._client, token, peer=peer, request=request, notify=notify)
        self._client.receivers[token] = observation
        self._by_peer.setdefault(peer, []).append(observation)
        try:
            await observation.register()
        except BaseException:
            observation.forget()
            raise
        return observation

    def remove(self, observation: Observation, token: bytes) -> None:
        """Called by the observation when it ends."""
        self._client.receivers.pop(token, None)
        observations = self._by_peer.get(observation.peer, [])
        if observation in observations:
            observations.remove(observation)
            if not observations:
                del self._by_peer[observation.peer]

    def rebind(self, old_peer: Peer, new_peer: Peer) -> None:
        moved = self._by_peer.pop(old_peer, [])
        for observation in moved:
            observation.peer = new_peer
        if moved:
            self._by_peer.setdefault(new_peer, []).extend(moved)

    def forget(self, peer: Peer) -> None:
        for observation in list(self._by_peer.get(peer, [])):
            observation.forget()

    def forget_all(self) -> None:
        for peer in list(self._by_peer):
            self.forget(peer)
