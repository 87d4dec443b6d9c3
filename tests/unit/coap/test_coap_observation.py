"""Observing (RFC 7641) a device that is played in lock step, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest
import structlog
from coap_network import Network, NetworkTransport, Script, running

from fita.coap.code import Code
from fita.coap.endpoint import CoapEndpoint, Observation
from fita.coap.errors import (
    CoapError,
    EndpointClosedError,
    NotObservableError,
    RequestTimeoutError,
    ResponseError,
)
from fita.coap.interfaces import Option, Request, Response
from fita.coap.message import option
from fita.coap.message.format import ACK, CON, NON, RST, Message, MessageType
from fita.coap.message.option import decode_uint, encode_uint
from fita.coap.request.observation import is_newer

pytestmark = pytest.mark.looptime

DEVICE = ("192.0.2.1", 5683)
MOVED = ("192.0.2.77", 5683)
GATEWAY = ("192.0.2.2", 5683)
GET = Request(method=Code.GET, path=("3303", "0", "5700"), accept=0)


class Device(Script):
    """A device with one observer."""

    message_id = 0x1000

    async def agree(self, number: int = 10, payload: bytes = b"21.0", **extra: object) -> Message:
        """Answer the registration that comes next."""
        request = await self.receive()
        assert observe_of(request) == 0
        self.token = request.token
        self.answer(request, payload, number=number)
        return request

    def answer(
        self,
        request: Message,
        payload: bytes,
        *,
        number: int | None = None,
        code: Code = Code.CONTENT,
        options: tuple[Option, ...] = (),
    ) -> None:
        if number is not None:
            options = ((option.OBSERVE, encode_uint(number)), *options)
        self.send(Message(ACK, code, request.message_id, request.token, options, payload), GATEWAY)

    def notify(
        self,
        number: int | None,
        payload: bytes,
        *,
        kind: MessageType = CON,
        code: Code = Code.CONTENT,
        options: tuple[Option, ...] = (),
    ) -> int:
        """Send a notification; returns its message id."""
        self.message_id += 1
        if number is not None:
            options = ((option.OBSERVE, encode_uint(number)), *options)
        self.send(Message(kind, code, self.message_id, self.token, options, payload), GATEWAY)
        return self.message_id

    async def notify_and_wait(self, number: int | None, payload: bytes, **extra: object) -> MessageType:
        """Send a confirmable notification; returns whether it was acknowledged or reset."""
        message_id = self.notify(number, payload, **extra)  # type: ignore[arg-type]
        reply = await self.receive()
        assert reply.message_id == message_id
        return reply.type


def observe_of(message: Message) -> int | None:
    return next((decode_uint(value) for number, value in message.options if number == option.OBSERVE), None)


async def failure_of(awaitable: Awaitable[object]) -> Exception | None:
    """How it failed; as a value, because a failed task would end its siblings."""
    try:
        await awaitable
    except CoapError as error:
        return error
    return None


class Scene:
    def __init__(self) -> None:
        self.network = Network()
        self.device = Device(self.network, DEVICE)
        self.gateway = CoapEndpoint(transport=NetworkTransport(self.network), rng=random.Random(5))
        self.seen: list[Response] = []

    @property
    def payloads(self) -> list[bytes]:
        return [response.payload for response in self.seen]

    async def observe(self, number: int = 10, payload: bytes = b"21.0") -> Observation:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.device.agree(number, payload))
            return await self.gateway.observe(DEVICE, GET, self.seen.append)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    await made.gateway.open(*GATEWAY)
    async with running(made.gateway):
        yield made


async def test_every_notification_comes_once_and_in_order() -> None:
    async with scene() as s:
        observation = await s.observe()
        assert s.payloads == [b"21.0"]
        assert observation.active
        for number, payload in ((11, b"21.5"), (12, b"21.5"), (13, b"22.0")):
            assert await s.device.notify_and_wait(number, payload) is ACK
        s.device.notify(14, b"22.5", kind=NON)
        await asyncio.sleep(1)
        assert s.payloads == [b"21.0", b"21.5", b"21.5", b"22.0", b"22.5"]
        assert [response.observe for response in s.seen] == [10, 11, 12, 13, 14]
        assert s.gateway.observations == 1
    assert not observation.active


async def test_late_and_doubled_notifications_are_acknowledged_and_dropped() -> None:
    async with scene() as s:
        await s.observe()
        for number in (13, 12, 13, 10):
            assert await s.device.notify_and_wait(number, b"%d" % number) is ACK
        assert s.payloads == [b"21.0", b"13"]


async def test_back_to_back_notifications_do_not_overwrite_one_another() -> None:
    async with scene() as s:
        await s.observe()
        for number in range(11, 31):
            s.device.notify(number, b"%d" % number, kind=NON)
        await asyncio.sleep(1)
        assert s.payloads[1:] == [b"%d" % number for number in range(11, 31)]


async def test_after_128_seconds_any_number_is_newer() -> None:
    async with scene() as s:
        await s.observe()
        await asyncio.sleep(127)
        await s.device.notify_and_wait(5, b"old")
        await asyncio.sleep(2)
        await s.device.notify_and_wait(5, b"new")
        assert s.payloads == [b"21.0", b"new"]


@pytest.mark.parametrize(
    ("number", "than", "after_s", "newer"),
    [
        (2, 1, 0, True),
        (1, 1, 0, False),
        (1, 2, 0, False),
        ((1 << 23) + 4, 5, 0, True),
        ((1 << 23) + 5, 5, 0, False),
        (0, (1 << 24) - 1, 0, True),
        (5, (1 << 23) + 5, 0, False),
        (5, (1 << 23) + 6, 0, True),
        (1, 1, 128, False),
        (1, 1, 128.1, True),
    ],
)
def test_the_order_of_rfc_7641_section_3_4(number: int, than: int, after_s: float, newer: bool) -> None:
    assert is_newer(number, 1000 + after_s, than=than, at=1000.0) is newer


async def test_a_resource_that_is_not_observable_or_not_there() -> None:
    async with scene() as s:
        cases: list[tuple[Code, type[ResponseError]]] = [
            (Code.CONTENT, NotObservableError),
            (Code.NOT_FOUND, ResponseError),
        ]
        for code, error in cases:
            async with asyncio.TaskGroup() as tasks:
                attempt = tasks.create_task(failure_of(s.gateway.observe(DEVICE, GET, s.seen.append)))
                s.device.answer(await s.device.receive(), b"", code=code)
            failure = attempt.result()
            assert type(failure) is error
            assert failure.code == code
        assert s.seen == []
        assert s.gateway.observations == 0


async def test_a_device_that_does_not_answer() -> None:
    async with scene() as s:
        with pytest.raises(RequestTimeoutError):
            await s.gateway.observe(DEVICE, GET, s.seen.append)
        assert s.gateway.observations == 0


async def test_the_callers_deadline_leaves_no_observation_behind() -> None:
    async with scene() as s:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await s.gateway.observe(DEVICE, GET, s.seen.append)
        s.device.token = (await s.device.receive()).token
        assert await s.device.notify_and_wait(11, b"x") is RST
        assert s.gateway.observations == 0


async def test_an_answer_in_the_moment_of_the_deadline_comes_too_late() -> None:
    async with scene() as s, asyncio.TaskGroup() as tasks:
        attempt = tasks.create_task(s.gateway.observe(DEVICE, GET, s.seen.append))
        request = await s.device.receive()
        attempt.cancel()
        agreed = Message(
            ACK, Code.CONTENT, request.message_id, request.token, ((option.OBSERVE, b"\x01"),), b"21.0"
        )
        s.gateway._receive(agreed.encode(), DEVICE)
        await asyncio.sleep(1)
        assert s.seen == []
        assert s.gateway.observations == 0


async def test_the_registration_may_be_answered_separately() -> None:
    async with scene() as s, asyncio.TaskGroup() as tasks:
        attempt = tasks.create_task(s.gateway.observe(DEVICE, GET, s.seen.append))
        request = await s.device.receive()
        s.device.token = request.token
        s.device.send(Message(ACK, Code.EMPTY, request.message_id), GATEWAY)
        await asyncio.sleep(30)
        assert await s.device.notify_and_wait(3, b"21.0") is ACK
        observation = await attempt
        assert observation.active
        assert s.payloads == [b"21.0"]
        await asyncio.sleep(100)
        assert s.device.silent()


@pytest.mark.parametrize(("code", "number"), [(Code.NOT_FOUND, 12), (Code.CONTENT, None)])
async def test_the_peer_ends_the_observation(code: Code, number: int | None) -> None:
    async with scene() as s:
        observation = await s.observe()
        assert await s.device.notify_and_wait(number, b"bye", code=code) is ACK
        assert not observation.active
        assert (s.seen[-1].code, s.seen[-1].payload) == (code, b"bye")
        assert await s.device.notify_and_wait(13, b"more") is RST
        with pytest.raises(EndpointClosedError):
            await observation.renew()


async def test_a_notification_that_is_not_understood_ends_the_observation() -> None:
    async with scene() as s:
        observation = await s.observe()
        assert await s.device.notify_and_wait(12, b"?", options=((9, b""),)) is RST
        assert not observation.active
        assert s.seen[-1].code == Code.BAD_OPTION


async def test_cancelling_deregisters_and_no_callback_comes_any_more() -> None:
    async with scene() as s:
        observation = await s.observe()
        async with asyncio.TaskGroup() as tasks:
            cancelling = tasks.create_task(observation.cancel())
            request = await s.device.receive()
            assert (observe_of(request), request.token) == (1, s.device.token)
            assert not observation.active
            assert await s.device.notify_and_wait(11, b"on its way") is ACK
            await asyncio.sleep(1)
            assert not cancelling.done(), "a notification is not the answer"
            s.device.answer(request, b"21.0")
            await cancelling
        assert s.payloads == [b"21.0"]
        assert await s.device.notify_and_wait(12, b"still") is RST
        await observation.cancel()
        assert s.device.silent()


async def test_forgetting_sends_nothing_and_resets_the_next_notification() -> None:
    async with scene() as s:
        observation = await s.observe()
        sent = len(s.network.log)
        observation.forget()
        observation.forget()
        assert len(s.network.log) == sent
        assert not observation.active
        assert await s.device.notify_and_wait(11, b"x") is RST
        assert s.payloads == [b"21.0"]


async def test_renewing_keeps_the_token_and_accepts_numbers_that_begin_again() -> None:
    async with scene() as s:
        observation = await s.observe(number=500)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(observation.renew())
            request = await s.device.agree(number=0, payload=b"22.0")
            assert request.token == s.device.token
        await s.device.notify_and_wait(1, b"22.5")
        assert s.payloads == [b"21.0", b"22.0", b"22.5"]


async def test_an_old_answer_to_a_renewal_does_not_overtake_a_notification() -> None:
    async with scene() as s:
        observation = await s.observe(number=10)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(observation.renew())
            request = await s.device.receive()
            await s.device.notify_and_wait(12, b"new")
            s.device.answer(request, b"old", number=11)
        assert s.payloads == [b"21.0", b"new"]


async def test_a_notification_is_not_taken_for_the_answer_to_a_renewal() -> None:
    async with scene() as s:
        observation = await s.observe(number=10)
        async with asyncio.TaskGroup() as tasks:
            renewal = tasks.create_task(observation.renew())
            request = await s.device.receive()
            await s.device.notify_and_wait(11, b"in between")
            await asyncio.sleep(1)
            assert not renewal.done()
            again = await s.device.receive()
            assert again == request, "it is repeated until it is acknowledged"
            s.device.answer(request, b"22.0", number=12)
        assert s.payloads == [b"21.0", b"in between", b"22.0"]


async def test_a_renewal_without_answer_leaves_the_observation_and_forgives_a_new_count() -> None:
    async with scene() as s:
        observation = await s.observe(number=500)
        with pytest.raises(RequestTimeoutError):
            await observation.renew()
        assert observation.active
        while not s.device.silent():
            await s.device.receive()
        await s.device.notify_and_wait(1, b"22.0")
        assert s.payloads == [b"21.0", b"22.0"]


async def test_a_renewal_that_is_refused_ends_the_observation() -> None:
    async with scene() as s:
        observation = await s.observe()
        async with asyncio.TaskGroup() as tasks:
            renewal = tasks.create_task(failure_of(observation.renew()))
            s.device.answer(await s.device.receive(), b"", code=Code.NOT_FOUND)
        assert isinstance(renewal.result(), ResponseError)
        assert not observation.active
        assert await s.device.notify_and_wait(11, b"x") is RST


async def test_forgetting_the_peer_ends_its_observations_and_registrations() -> None:
    async with scene() as s, asyncio.TaskGroup() as tasks:
        observation = await s.observe()
        attempt = tasks.create_task(failure_of(s.gateway.observe(DEVICE, GET, s.seen.append)))
        await s.device.receive()
        s.gateway.forget(DEVICE)
        assert isinstance(await attempt, EndpointClosedError)
        assert not observation.active
        assert s.gateway.observations == 0
        assert await s.device.notify_and_wait(11, b"x") is RST


async def test_an_observation_follows_its_peer() -> None:
    async with scene() as s:
        observation = await s.observe()
        token = s.device.token
        s.gateway.rebind(DEVICE, MOVED)
        assert observation.peer == MOVED
        assert await s.device.notify_and_wait(11, b"from the old address") is RST
        s.device = Device(s.network, MOVED)
        s.device.token = token
        assert await s.device.notify_and_wait(11, b"22.0") is ACK
        assert s.payloads == [b"21.0", b"22.0"]
        s.gateway.forget(DEVICE)
        assert observation.active
        s.gateway.forget(MOVED)
        assert not observation.active


async def test_only_the_peer_itself_may_notify() -> None:
    async with scene() as s:
        await s.observe()
        stranger = Device(s.network, MOVED)
        stranger.token = s.device.token
        assert await stranger.notify_and_wait(11, b"forged") is RST
        assert s.payloads == [b"21.0"]


async def test_a_callback_that_raises_costs_nothing_else() -> None:
    async with scene() as s:

        def callback(response: Response) -> None:
            s.seen.append(response)
            raise ValueError("broken")

        with structlog.testing.capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(s.device.agree())
                await s.gateway.observe(DEVICE, GET, callback)
            assert await s.device.notify_and_wait(11, b"22.0") is ACK
        assert s.payloads == [b"21.0", b"22.0"]
        assert [entry["event"] for entry in logs] == ["notification callback failed"] * 2


# Notifications in blocks


def block2(number: int, more: bool, etag: bytes = b"e1") -> tuple[Option, ...]:
    return ((option.ETAG, etag), (option.BLOCK2, bytes([number << 4 | more << 3])))


async def serve_block(device: Device, payload: bytes, *, number: int, more: bool, etag: bytes = b"e1") -> None:
    """Answer the request for one block of 16 bytes, which must be no registration."""
    request = await device.receive()
    while request.type is ACK:
        request = await device.receive()
    assert observe_of(request) is None
    assert request.token != device.token
    assert (option.BLOCK2, bytes([number << 4]) if number else b"") in request.options
    device.answer(request, payload, options=block2(number, more, etag))


async def test_the_rest_of_a_large_representation_is_fetched() -> None:
    """RFC 7959 section 3.4: registration and notification both in blocks."""
    async with scene() as s:
        async with asyncio.TaskGroup() as tasks:
            attempt = tasks.create_task(s.gateway.observe(DEVICE, GET, s.seen.append))
            request = await s.device.receive()
            s.device.token = request.token
            s.device.answer(request, b"a" * 16, number=1, options=block2(0, True))
            await serve_block(s.device, b"b" * 16, number=1, more=True)
            await asyncio.sleep(1)
            assert not attempt.done()
            await serve_block(s.device, b"c", number=2, more=False)
            observation = await attempt
        assert s.payloads == [b"a" * 16 + b"b" * 16 + b"c"]
        s.device.notify(2, b"d" * 16, options=block2(0, True, b"e2"))
        await serve_block(s.device, b"e", number=1, more=False, etag=b"e2")
        await asyncio.sleep(1)
        assert s.payloads[1:] == [b"d" * 16 + b"e"]
        assert s.seen[1].observe == 2
        assert s.seen[1].options == ()
        assert observation.active


async def test_a_single_block_is_whole() -> None:
    async with scene() as s:
        await s.observe()
        await s.device.notify_and_wait(11, b"small", options=block2(0, False))
        assert s.payloads == [b"21.0", b"small"]
        assert s.seen[1].options == ()


async def test_a_newer_whole_representation_overtakes_one_that_is_being_fetched() -> None:
    async with scene() as s:
        await s.observe()
        s.device.notify(11, b"a" * 16, options=block2(0, True))
        await asyncio.sleep(0.1)
        s.device.notify(12, b"whole")
        await asyncio.sleep(0.1)
        await serve_block(s.device, b"late", number=1, more=False)
        await asyncio.sleep(1)
        assert s.payloads == [b"21.0", b"whole"]


async def test_a_newer_partial_representation_waits_for_the_fetch_and_only_the_newest() -> None:
    async with scene() as s:
        await s.observe()
        s.device.notify(11, b"a" * 16, options=block2(0, True, b"e1"))
        await asyncio.sleep(0.1)
        s.device.notify(12, b"b" * 16, options=block2(0, True, b"e2"))
        await asyncio.sleep(0.1)
        s.device.notify(13, b"c" * 16, options=block2(0, True, b"e3"))
        await asyncio.sleep(0.1)
        await serve_block(s.device, b"1", number=1, more=False, etag=b"e1")
        await serve_block(s.device, b"3", number=1, more=False, etag=b"e3")
        await asyncio.sleep(1)
        assert s.payloads == [b"21.0", b"a" * 16 + b"1", b"c" * 16 + b"3"]
        assert s.seen[-1].observe == 13
        requests = [message for message in s.network.between(GATEWAY, DEVICE) if message.code == Code.GET]
        assert len(requests) == 3, "the registration and two fetches"


async def test_what_was_overtaken_is_not_delivered_when_an_even_newer_one_waits() -> None:
    async with scene() as s:
        await s.observe()
        s.device.notify(11, b"a" * 16, options=block2(0, True, b"e1"))
        await asyncio.sleep(0.1)
        s.device.notify(12, b"whole")
        s.device.notify(13, b"c" * 16, options=block2(0, True, b"e3"))
        await asyncio.sleep(0.1)
        await serve_block(s.device, b"1", number=1, more=False, etag=b"e1")
        await serve_block(s.device, b"3", number=1, more=False, etag=b"e3")
        await asyncio.sleep(1)
        assert s.payloads == [b"21.0", b"whole", b"c" * 16 + b"3"]


async def test_a_newer_representation_is_fetched_even_if_the_older_could_not_be() -> None:
    async with scene() as s:
        await s.observe()
        with structlog.testing.capture_logs() as logs:
            s.device.notify(11, b"a" * 16, options=block2(0, True, b"e1"))
            await asyncio.sleep(0.1)
            s.device.notify(12, b"b" * 16, options=block2(0, True, b"e2"))
            await asyncio.sleep(0.1)
            await serve_block(s.device, b"?", number=1, more=True, etag=b"e1")
            await serve_block(s.device, b"2", number=1, more=False, etag=b"e2")
            await asyncio.sleep(1)
        assert [entry["event"] for entry in logs] == ["notification not completed"]
        assert s.payloads == [b"21.0", b"b" * 16 + b"2"]


async def test_a_representation_that_changes_during_the_fetch_is_fetched_anew() -> None:
    async with scene() as s:
        await s.observe()
        s.device.notify(11, b"a" * 16, options=block2(0, True, b"e1"))
        await serve_block(s.device, b"2", number=1, more=False, etag=b"e2")
        await serve_block(s.device, b"b" * 16, number=0, more=True, etag=b"e2")
        await serve_block(s.device, b"2", number=1, more=False, etag=b"e2")
        await asyncio.sleep(1)
        assert s.payloads[1:] == [b"b" * 16 + b"2"]
        assert s.seen[1].observe == 11


async def test_a_fetch_that_fails_leaves_the_observation() -> None:
    async with scene() as s:
        observation = await s.observe()
        with structlog.testing.capture_logs() as logs:
            s.device.notify(11, b"a" * 16, options=block2(0, True))
            await asyncio.sleep(200)
        assert [entry["event"] for entry in logs] == ["notification not completed"]
        assert observation.active
        while not s.device.silent():
            await s.device.receive()
        await s.device.notify_and_wait(12, b"22.0")
        assert s.payloads == [b"21.0", b"22.0"]


async def test_a_first_representation_that_cannot_be_completed_is_no_observation() -> None:
    async with scene() as s, asyncio.TaskGroup() as tasks:
        attempt = tasks.create_task(failure_of(s.gateway.observe(DEVICE, GET, s.seen.append)))
        request = await s.device.receive()
        s.device.token = request.token
        s.device.answer(request, b"a" * 16, number=1, options=block2(0, True))
        s.device.answer(await s.device.receive(), b"", code=Code.NOT_FOUND)
        assert isinstance(await attempt, ResponseError)
        assert s.seen == []
        assert await s.device.notify_and_wait(2, b"x") is RST


async def test_no_callback_comes_from_a_fetch_after_the_end() -> None:
    async with scene() as s:
        observation = await s.observe()
        s.device.notify(11, b"a" * 16, options=block2(0, True))
        await asyncio.sleep(0.1)
        observation.forget()
        await serve_block(s.device, b"late", number=1, more=False)
        await asyncio.sleep(1)
        assert s.payloads == [b"21.0"]


async def test_a_broken_block_option_is_a_failed_fetch() -> None:
    async with scene() as s:
        observation = await s.observe()
        with structlog.testing.capture_logs() as logs:
            assert await s.device.notify_and_wait(11, b"x", options=((option.BLOCK2, b"\x07"),)) is ACK
            await asyncio.sleep(1)
        assert observation.active
        assert [entry["event"] for entry in logs] == ["notification not completed"]
