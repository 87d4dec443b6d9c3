"""The endpoint over a network in virtual time: requests, handlers, blocks, limits, ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
import structlog
from coap_network import Network, NetworkTransport, Script, run_virtually, running
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.coap.code import Code
from fita.coap.endpoint import CoapEndpoint
from fita.coap.errors import (
    BadOptionError,
    BlockwiseError,
    EndpointClosedError,
    PeerBusyError,
    RequestTimeoutError,
    ResetError,
    ResponseError,
    TransportError,
)
from fita.coap.interfaces import Limits, Peer, Request, Response
from fita.coap.message import option
from fita.coap.message.format import ACK, CON, NON, RST, Message

pytestmark = pytest.mark.looptime

GET = Request(method=Code.GET, path=("3", "0"))
CONTENT = Response(code=Code.CONTENT, payload=b"22.3 C")
SERVER = ("192.0.2.1", 5683)
CLIENT = ("192.0.2.2", 40_000)


class Handler:
    """Answers with what `answer` makes of the request; remembers the requests."""

    def __init__(
        self, answer: Callable[[Request], Response | Awaitable[Response]] = lambda request: CONTENT
    ) -> None:
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self._answer = answer

    def handle(self, request: Request, peer: Peer) -> Response | Awaitable[Response]:
        self.requests.append(request)
        self.peers.append(peer)
        return self._answer(request)


async def opened(
    network: Network, peer: Peer, handler: Handler | None = None, limits: Limits | None = None
) -> CoapEndpoint:
    endpoint = CoapEndpoint(
        handler, limits=limits, transport=NetworkTransport(network), rng=random.Random(peer[1])
    )
    await endpoint.open(*peer)
    return endpoint


async def test_a_request_and_its_response() -> None:
    network, handler = Network(), Handler()
    server, client = await opened(network, SERVER, handler), await opened(network, CLIENT)
    async with running(server, client):
        assert await client.request(SERVER, GET) == CONTENT
    assert handler.requests == [GET]
    assert handler.peers == [CLIENT]
    request, response = network.log
    assert len(request.message.token) == 8
    assert response.message.token == request.message.token


async def test_tokens_and_message_ids_are_random() -> None:
    network = Network()
    server, client = await opened(network, SERVER, Handler()), await opened(network, CLIENT)
    async with running(server, client):
        for _ in range(20):
            await client.request(SERVER, GET)
    tokens = {message.token for message in network.between(CLIENT, SERVER)}
    assert len(tokens) == 20
    assert len({token[:4] for token in tokens}) == 20


async def test_an_endpoint_without_a_handler_finds_nothing() -> None:
    network = Network()
    server, client = await opened(network, SERVER), await opened(network, CLIENT)
    async with running(server, client):
        assert (await client.request(SERVER, GET)).code == Code.NOT_FOUND


@pytest.mark.parametrize("lost", [1, 2, 4])
async def test_lost_requests_are_repeated(lost: int) -> None:
    network, handler = Network(), Handler()
    network.passes = lambda datagram: len(network.log) > lost
    server, client = await opened(network, SERVER, handler), await opened(network, CLIENT)
    async with running(server, client):
        assert await client.request(SERVER, GET) == CONTENT
    assert len(network.between(CLIENT, SERVER)) == lost + 1
    assert len(handler.requests) == 1


async def test_silence_is_a_timeout_after_all_retransmissions() -> None:
    network, loop = Network(), asyncio.get_running_loop()
    client = await opened(network, CLIENT)
    async with running(client):
        began = loop.time()
        with pytest.raises(RequestTimeoutError):
            await client.request(SERVER, GET)
        assert 62 <= loop.time() - began <= 93
    assert client.counters.timeouts == 1


async def test_the_callers_deadline_ends_a_request_and_leaves_nothing_behind() -> None:
    network = Network()
    client, peer = await opened(network, CLIENT), Script(network, SERVER)
    async with running(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.request(SERVER, GET)
        sent = len(network.log)
        await asyncio.sleep(200)
        assert len(network.log) == sent
        request = await peer.receive()
        peer.send(Message(CON, Code.CONTENT, 7, request.token, (), b"late"), CLIENT)
        assert (await peer.receive()).type is RST
    assert client._client.receivers == {}


async def test_a_reset_and_an_impossible_option_are_errors() -> None:
    network = Network()
    client, peer = await opened(network, CLIENT), Script(network, SERVER)

    async def answer() -> None:
        request = await peer.receive()
        peer.send(Message(RST, Code.EMPTY, request.message_id), CLIENT)
        request = await peer.receive()
        peer.send(Message(ACK, Code.CONTENT, request.message_id, request.token, ((9, b""),)), CLIENT)
        request = await peer.receive()
        peer.send(Message(ACK, Code.EMPTY, request.message_id), CLIENT)
        peer.send(Message(CON, Code.CONTENT, 7, request.token, ((9, b""),)), CLIENT)
        assert (await peer.receive()).type is RST

    async with running(client), asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        with pytest.raises(ResetError):
            await client.request(SERVER, GET)
        for _ in range(2):
            with pytest.raises(BadOptionError):
                await client.request(SERVER, GET)


async def test_a_separate_response_that_overtakes_its_acknowledgement() -> None:
    network = Network()
    client, peer = await opened(network, CLIENT), Script(network, SERVER)

    async def answer() -> None:
        request = await peer.receive()
        response = Message(CON, Code.CONTENT, 7, request.token, (), b"22.3 C")
        peer.send(response, CLIENT)
        peer.send(Message(ACK, Code.EMPTY, request.message_id), CLIENT)
        peer.send(response, CLIENT)
        assert [(await peer.receive()).message_id for _ in range(2)] == [7, 7]

    async with running(client), asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        assert await client.request(SERVER, GET) == CONTENT
        await asyncio.sleep(300)
    assert len(network.between(CLIENT, SERVER)) == 3, "one request, two acknowledgements"


async def test_requests_to_one_peer_go_one_after_the_other_and_too_many_are_refused() -> None:
    network, handler = Network(), Handler()
    server = await opened(network, SERVER, handler)
    client = await opened(network, CLIENT, limits=Limits(waiting_per_peer=3))
    codes = []

    async def ask() -> None:
        codes.append((await client.request(SERVER, GET)).code)

    async with running(server, client):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(ask())
            await asyncio.sleep(0)
            with pytest.raises(PeerBusyError):
                await client.request(SERVER, GET)
        assert len(codes) == 4
    kinds = [entry.source for entry in network.log]
    assert kinds == [CLIENT, SERVER] * 4


# Handlers


async def test_an_asynchronous_handler_in_time_answers_in_the_acknowledgement() -> None:
    async def answer() -> Response:
        await asyncio.sleep(0.5)
        return CONTENT

    network = Network()
    server, client = (
        await opened(network, SERVER, Handler(lambda request: answer())),
        await opened(network, CLIENT),
    )
    async with running(server, client):
        assert await client.request(SERVER, GET) == CONTENT
    assert [message.type for message in network.between(SERVER, CLIENT)] == [ACK]


async def test_a_slow_handler_answers_separately_and_runs_once() -> None:
    async def answer() -> Response:
        await asyncio.sleep(20)
        return CONTENT

    network, handler = Network(), Handler(lambda request: answer())
    server, client = await opened(network, SERVER, handler), await opened(network, CLIENT)
    network.passes = lambda datagram: datagram.message.code != Code.EMPTY  # every acknowledgement is lost
    async with running(server, client):
        assert await client.request(SERVER, GET) == CONTENT
    assert len(handler.requests) == 1
    assert [message.type for message in network.between(SERVER, CLIENT)][-1] is CON


async def test_a_handler_that_takes_too_long_is_cancelled() -> None:
    cancelled = []

    async def answer() -> Response:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return CONTENT

    network = Network()
    server = await opened(network, SERVER, Handler(lambda request: answer()), Limits(handler_s=30))
    client = await opened(network, CLIENT)
    with structlog.testing.capture_logs() as logs:
        async with running(server, client):
            response = await client.request(SERVER, GET)
    assert (response.code, response.max_age_s) == (Code.SERVICE_UNAVAILABLE, 5)
    assert cancelled == [True]
    assert [entry["event"] for entry in logs] == ["handler cancelled"]


async def test_handlers_at_work_are_bounded_and_cancelled_at_the_end() -> None:
    async def answer() -> Response:
        await asyncio.sleep(50)
        return CONTENT

    network = Network()
    server = await opened(network, SERVER, Handler(lambda request: answer()), Limits(handlers=2))
    peers = [Script(network, ("192.0.2.9", port)) for port in (1, 2, 3)]
    async with running(server):
        for peer in peers:
            peer.send(Message(CON, Code.GET, 1, b"t"), SERVER)
        busy = await peers[2].receive()
        assert busy.code == Code.SERVICE_UNAVAILABLE
        for peer in peers[:2]:
            assert (await peer.receive()).code == Code.EMPTY
    await asyncio.sleep(1)
    for peer in peers[:2]:
        assert (await peer.receive()).code == Code.SERVICE_UNAVAILABLE, "those cancelled by the end are told so"


async def test_handlers_that_are_done_make_room_for_others() -> None:
    async def answer() -> Response:
        await asyncio.sleep(0.1)
        return CONTENT

    network = Network()
    server = await opened(network, SERVER, Handler(lambda request: answer()), Limits(handlers=1))
    client = await opened(network, CLIENT)
    async with running(server, client):
        for _ in range(3):
            assert await client.request(SERVER, GET) == CONTENT


async def test_a_handler_just_called_when_the_endpoint_stops_is_not_lost() -> None:
    network = Network()

    async def answer() -> Response:
        await asyncio.sleep(50)
        return CONTENT

    server = await opened(network, SERVER, Handler(lambda request: answer()))
    peer = Script(network, CLIENT)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(server.run())
        await asyncio.sleep(0)
        run.cancel()
        server._receive(Message(CON, Code.GET, 1, b"t").encode(), CLIENT)
    assert (await peer.receive()).code == Code.SERVICE_UNAVAILABLE
    await server.close()


def raising(error: Exception) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        raise error

    return answer


def raising_later(error: Exception) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        await asyncio.sleep(2)
        raise error

    return answer


@pytest.mark.parametrize("raise_with", [raising, raising_later])
@pytest.mark.parametrize(
    ("error", "code", "diagnostic", "logged"),
    [
        (ResponseError(Code.FORBIDDEN, "not enrolled"), Code.FORBIDDEN, "not enrolled", 0),
        (ValueError("broken"), Code.INTERNAL_SERVER_ERROR, "", 1),
        (TimeoutError(), Code.INTERNAL_SERVER_ERROR, "", 1),
    ],
)
async def test_what_a_handler_raises_costs_one_answer(
    raise_with: Callable[[Exception], Callable[[Request], Response | Awaitable[Response]]],
    error: Exception,
    code: Code,
    diagnostic: str,
    logged: int,
) -> None:
    network = Network()
    server, client = await opened(network, SERVER, Handler(raise_with(error))), await opened(network, CLIENT)
    with structlog.testing.capture_logs() as logs:
        async with running(server, client):
            response = await client.request(SERVER, GET)
    assert (response.code, response.diagnostic) == (code, diagnostic)
    assert [entry["event"] for entry in logs] == ["handler failed"] * logged


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: None,
        lambda request: Response(code=Code.CONTENT, options=((70_000, b""),)),
        lambda request: Response(code=Code.CONTENT, max_age_s=-1),
    ],
    ids=["nothing", "impossible option", "negative age"],
)
async def test_an_answer_that_is_none_is_an_internal_error(answer: Callable[[Request], Response]) -> None:
    network = Network()
    server, client = await opened(network, SERVER, Handler(answer)), await opened(network, CLIENT)
    with structlog.testing.capture_logs() as logs:
        async with running(server, client):
            assert (await client.request(SERVER, GET)).code == Code.INTERNAL_SERVER_ERROR
    assert [entry["event"] for entry in logs] == ["handler failed"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Message(CON, Code.GET, 1, b"t", ((9, b""),)), Code.BAD_OPTION),
        (Message(CON, Code.GET, 1, b"t", ((35, b"coap://x/"),)), Code.PROXYING_NOT_SUPPORTED),
        (Message(CON, Code(31), 1, b"t"), Code.METHOD_NOT_ALLOWED),
        (Message(CON, Code.GET, 1, b"t", ((23, b"\x07"),)), Code.BAD_REQUEST),
    ],
)
async def test_requests_that_no_handler_sees(message: Message, code: Code) -> None:
    network, handler = Network(), Handler()
    server, peer = await opened(network, SERVER, handler), Script(network, CLIENT)
    async with running(server):
        peer.send(message, SERVER)
        response = await peer.receive()
    assert (response.code, response.token) == (code, b"t")
    assert handler.requests == []


async def test_a_critical_option_in_a_non_confirmable_request_is_ignored() -> None:
    network = Network()
    server, peer = await opened(network, SERVER, Handler()), Script(network, CLIENT)
    async with running(server):
        peer.send(Message(NON, Code.GET, 1, b"t", ((9, b""),)), SERVER)
        peer.send(Message(NON, Code.GET, 2, b"u"), SERVER)
        assert (await peer.receive()).token == b"u"
    assert peer.silent()


# Blocks


@pytest.mark.parametrize(
    ("sent", "answered", "size"), [(5000, 3000, 1024), (1000, 50, 64), (64, 0, 64), (17, 17, 16)]
)
async def test_large_bodies_travel_in_blocks(sent: int, answered: int, size: int) -> None:
    answer = Response(code=Code.CHANGED, payload=b"a" * answered)
    network, handler = Network(), Handler(lambda request: answer)
    server, client = await opened(network, SERVER, handler), await opened(network, CLIENT)
    put = Request(method=Code.PUT, path=("9", "0", "2"), content_format=42, payload=b"p" * sent)
    async with running(server, client):
        response = await client.request(SERVER, put, block_size=size)
    assert (response.code, response.payload, response.options) == (Code.CHANGED, b"a" * answered, ())
    assert handler.requests == [put]
    assert all(len(entry.message.payload) <= size for entry in network.log)


async def test_a_body_over_the_limit_is_refused_in_both_roles() -> None:
    network, limits = Network(), Limits(body_bytes=2000)
    large = Response(code=Code.CONTENT, payload=bytes(3000))
    server = await opened(network, SERVER, Handler(lambda request: large), limits)
    client = await opened(network, CLIENT, limits=limits)
    async with running(server, client):
        with pytest.raises(BlockwiseError):
            await client.request(SERVER, GET)
        put = Request(method=Code.PUT, path=("x",), payload=bytes(3000))
        assert (await client.request(SERVER, put)).code == Code.REQUEST_ENTITY_TOO_LARGE


async def test_a_device_that_takes_only_small_blocks() -> None:
    """It refuses a payload that came whole and says what it can take (RFC 7959 section 2.9.3)."""
    network = Network()
    client, peer = await opened(network, CLIENT), Script(network, SERVER)
    payloads = []

    async def answer() -> None:
        request = await peer.receive()
        refusal = Message(
            ACK, Code.REQUEST_ENTITY_TOO_LARGE, request.message_id, request.token, ((option.BLOCK1, b"\x02"),)
        )
        peer.send(refusal, CLIENT)
        for code in (Code.CONTINUE, Code.CHANGED):
            request = await peer.receive()
            payloads.append(request.payload)
            echo = next(value for number, value in request.options if number == option.BLOCK1)
            peer.send(Message(ACK, code, request.message_id, request.token, ((option.BLOCK1, echo),)), CLIENT)

    async with running(client), asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        put = Request(method=Code.PUT, path=("x",), payload=b"p" * 100)
        assert (await client.request(SERVER, put)).code == Code.CHANGED
    assert payloads == [b"p" * 64, b"p" * 36]


# Peers and ends


async def test_a_request_follows_the_peer_in_the_middle_of_a_transfer() -> None:
    network, handler = Network(), Handler()
    server, client = await opened(network, SERVER, handler), await opened(network, CLIENT)
    moved = ("192.0.2.77", 5683)
    put = Request(method=Code.PUT, path=("x",), payload=bytes(5000))

    def move(datagram: object) -> bool:
        if len(network.log) == 5:
            server._transport.peer = moved  # type: ignore[attr-defined]
            network.attach(moved, server._receive)
            network.detach(SERVER)
            client.rebind(SERVER, moved)
        return True

    network.passes = move
    async with running(server, client):
        assert await client.request(SERVER, put) == CONTENT
    assert handler.requests == [put]
    assert {entry.destination for entry in network.log[6:] if entry.source == CLIENT} == {moved}


async def test_forgetting_a_peer_and_closing_end_its_requests() -> None:
    network = Network()
    client = await opened(network, CLIENT)
    errors = []

    async def ask(peer: Peer) -> None:
        with pytest.raises(EndpointClosedError) as caught:
            await client.request(peer, GET)
        errors.append(peer)
        assert caught.value.message

    other = ("192.0.2.5", 1)
    async with asyncio.TaskGroup() as tasks:
        async with running(client):
            for peer in (SERVER, SERVER, other):
                tasks.create_task(ask(peer))
            await asyncio.sleep(1)
            client.forget(SERVER)
            await asyncio.sleep(0.1)
            assert errors == [SERVER, SERVER]
    assert errors == [SERVER, SERVER, other]
    with pytest.raises(EndpointClosedError):
        await client.request(SERVER, GET)
    with pytest.raises(EndpointClosedError):
        await client.run()


async def test_a_host_name_is_no_peer() -> None:
    client = await opened(Network(), CLIENT)
    async with running(client):
        with pytest.raises(TransportError, match="resolve"):
            await client.request(("device.local", 5683), GET)
        with pytest.raises(ValueError, match="power of two"):
            await client.request(SERVER, GET, block_size=100)


@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.35),
    doubling=st.floats(0, 0.5),
    delay=st.floats(0.001, 4),
    asynchronous=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_request_is_handled_at_most_once_and_answered_with_its_own_answer(
    seed: int, loss: float, doubling: float, delay: float, asynchronous: bool
) -> None:
    """RFC 7252's promise over a network that loses, doubles and reorders."""
    handled: list[bytes] = []
    answers: dict[bytes, bytes] = {}
    rng = random.Random(seed)

    async def later(response: Response) -> Response:
        await asyncio.sleep(rng.uniform(0, 5))
        return response

    def answer(request: Request) -> Response | Awaitable[Response]:
        name = request.payload[:2]
        handled.append(name)
        response = Response(code=Code.CONTENT, payload=name * (1 + name[1] % 900))
        return later(response) if asynchronous else response

    async def main() -> None:
        network = Network(rng=rng, loss=loss, doubling=doubling, delay_s=(0.0005, delay))
        server = await opened(network, SERVER, Handler(answer))
        clients = [await opened(network, ("192.0.2.9", port)) for port in (1, 2)]

        async def ask(client: CoapEndpoint, name: bytes) -> None:
            payload = name * (1 + name[1] % 700)
            try:
                response = await client.request(SERVER, Request(method=Code.POST, payload=payload))
            except RequestTimeoutError:
                return
            answers[name] = response.payload

        async with running(server, *clients):
            async with asyncio.TaskGroup() as tasks:
                for number in range(8):
                    tasks.create_task(ask(clients[number % 2], bytes([number, rng.randrange(256)])))
            for endpoint in (server, *clients):
                assert all(not context.exchanges or endpoint is server for context in _contexts(endpoint))
            await asyncio.sleep(300)
            assert all(not context.exchanges for context in _contexts(server))

    run_virtually(main)
    assert len(handled) == len(set(handled)), "a duplicate reached the handler"
    assert all(answer == name * (1 + name[1] % 900) for name, answer in answers.items())
    if loss == 0 and delay < 1:
        assert len(answers) == 8


def _contexts(endpoint: CoapEndpoint) -> list[object]:
    return list(endpoint._layer._contexts.values())


async def test_an_endpoint_may_run_again() -> None:
    network = Network()
    client, peer = await opened(network, CLIENT), Script(network, SERVER)
    async with asyncio.TaskGroup() as tasks:
        request = tasks.create_task(client.request(SERVER, GET))
        for _ in range(2):
            run = tasks.create_task(client.run())
            await asyncio.sleep(10)
            run.cancel()
            await asyncio.sleep(1)
        run = tasks.create_task(client.run())
        received = await peer.receive()
        peer.send(Message(ACK, Code.CONTENT, received.message_id, received.token, (), b"22.3 C"), CLIENT)
        assert await request == CONTENT
        run.cancel()
    await client.close()
    assert len(network.between(CLIENT, SERVER)) > 1, "it went on repeating"
