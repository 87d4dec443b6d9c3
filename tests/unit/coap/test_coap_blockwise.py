from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.coap.code import Code
from fita.coap.errors import BlockwiseError
from fita.coap.interfaces import Limits, Peer, Request, Response
from fita.coap.message import option
from fita.coap.message.option import encode_uint
from fita.coap.message.timer import Timers
from fita.coap.request.blockwise import (
    Block,
    Download,
    Upload,
    find_block,
    first_request,
    size_exponent,
    smaller_upload,
    without_blocks,
)
from fita.coap.request.blockwise_server import BlockwiseServer, BodyStore

PEER = ("192.0.2.1", 5683)
OTHER = ("192.0.2.2", 5683)
LIFETIME_S = 247.0


def body_of(length: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(length))


def shown(response_or_request: Request | Response) -> str:
    """The block options as RFC 7959 writes them: ``1:0/1/128``."""
    parts = []
    for kind, number in ((1, option.BLOCK1), (2, option.BLOCK2)):
        block = find_block(number, response_or_request.options)
        if block is not None:
            parts.append(f"{kind}:{block.number}/{int(block.more)}/{block.size}")
    return " ".join(parts)


def block_option(text: str) -> tuple[int, bytes]:
    kind, _, value = text.partition(":")
    number, more, size = (int(part) for part in value.split("/"))
    return {"1": option.BLOCK1, "2": option.BLOCK2}[kind], Block(number, bool(more), size_exponent(size)).encode()


class Service:
    """A server with `BlockwiseServer` around a handler that remembers the bodies it got."""

    def __init__(self, response: Response, limits: Limits | None = None) -> None:
        self.response = response
        self.bodies: list[bytes] = []
        self.timers = Timers()
        self.now = 0.0
        self._blockwise = BlockwiseServer(self.timers, limits or Limits(), LIFETIME_S)

    def ask(self, request: Request, peer: Peer = PEER) -> Response:
        whole = self._blockwise.assemble(request, peer, self.now)
        if isinstance(whole, Response):
            return whole
        self.bodies.append(whole.payload)
        assert whole.options == (), "blocks are no business of the handler"
        return self._blockwise.serve(request, self.response, peer, self.now)


def upload(service: Service, request: Request, size: int) -> tuple[Response, list[str]]:
    sender = Upload(request, size_exponent(size))
    trace = []
    while True:
        part = sender.next_request()
        response = service.ask(part)
        trace.append(f"{shown(part)} -> {response.code} {shown(response)}")
        if sender.receive(response):
            return response, trace


def download(
    service: Service, request: Request, first: Response, limit: int = 1 << 20
) -> tuple[Response, list[str]]:
    collector = Download(request, first, limit)
    whole = collector.receive(first)
    trace = [shown(first)]
    while whole is None:
        part = collector.next_request()
        response = service.ask(part)
        trace.append(f"{shown(part)} -> {shown(response)}")
        whole = collector.receive(response)
    return whole, trace


PUT = Request(method=Code.PUT, path=("options",), payload=body_of(300))
GET = Request(method=Code.GET, path=("status",))


def test_simple_atomic_put() -> None:
    """RFC 7959 section 3.2, the first example."""
    service = Service(Response(code=Code.CHANGED))
    response, trace = upload(service, PUT, 128)
    assert trace == [
        "1:0/1/128 -> 2.31 1:0/1/128",
        "1:1/1/128 -> 2.31 1:1/1/128",
        "1:2/0/128 2:0/0/128 -> 2.04 1:2/0/128 2:0/0/128",
    ]
    assert response.code == Code.CHANGED
    assert service.bodies == [PUT.payload]


def test_atomic_put_with_a_smaller_block_size_wanted_by_the_server() -> None:
    """RFC 7959 section 3.2, the second example: the server halves the size, and the numbers go on in its unit."""
    sender = Upload(PUT, size_exponent(128))
    sent = []
    for _ in range(2):
        part = sender.next_request()
        sent.append(shown(part))
        block = find_block(option.BLOCK1, part.options)
        assert block is not None
        sender.receive(Response(code=Code.CONTINUE, options=(block_option(f"1:{block.number}/1/32"),)))
    assert sent == ["1:0/1/128", "1:4/1/32"]
    assert shown(sender.next_request()) == "1:5/1/32"


def test_simple_blockwise_get() -> None:
    """RFC 7959 section 3.1, with early negotiation of 64 bytes."""
    service = Service(Response(code=Code.CONTENT, payload=body_of(300)))
    first = service.ask(first_request(GET, size_exponent(64)))
    whole, trace = download(service, GET, first)
    assert trace == [
        "2:0/1/64",
        "2:1/0/64 -> 2:1/1/64",
        "2:2/0/64 -> 2:2/1/64",
        "2:3/0/64 -> 2:3/1/64",
        "2:4/0/64 -> 2:4/0/64",
    ]
    assert whole.payload == body_of(300)
    assert whole.options == ()
    assert len(service.bodies) == 1, "all blocks are of one answer of the handler"
    assert len(service._blockwise._downloads) == 0, "what was fetched is not kept"


def test_get_with_late_negotiation() -> None:
    """RFC 7959 section 3.1: the client asks for smaller blocks from the second on."""
    service = Service(Response(code=Code.CONTENT, payload=body_of(1500)))
    assert shown(service.ask(GET)) == "2:0/1/1024"
    later = msgspec.structs.replace(GET, options=(block_option("2:16/0/64"),))
    response = service.ask(later)
    assert shown(response) == "2:16/1/64"
    assert response.payload == body_of(1500)[1024:1088]


def test_atomic_post_with_a_blockwise_response() -> None:
    """RFC 7959 section 3.3."""
    service = Service(Response(code=Code.CHANGED, payload=body_of(300)))
    post = Request(method=Code.POST, path=("soap",), payload=body_of(400))
    first, trace = upload(service, post, 128)
    assert trace[-1] == "1:3/0/128 2:0/0/128 -> 2.04 1:3/0/128 2:0/1/128"
    whole, trace = download(service, post, first)
    assert trace[1:] == ["2:1/0/128 -> 2:1/1/128", "2:2/0/128 -> 2:2/0/128"]
    assert whole.payload == body_of(300)
    assert service.bodies == [post.payload]


@given(
    length=st.integers(0, 5000),
    answer=st.integers(0, 5000),
    size=st.sampled_from([16, 32, 64, 128, 256, 512, 1024]),
    method=st.sampled_from([Code.PUT, Code.POST, Code.FETCH]),
)
@settings(max_examples=60)
def test_bodies_of_any_length_arrive_whole_in_both_directions(
    length: int, answer: int, size: int, method: Code
) -> None:
    service = Service(Response(code=Code.CONTENT, payload=body_of(answer), content_format=112))
    request = Request(method=method, path=("x",), payload=body_of(length), content_format=42)
    if length > size:
        first, _ = upload(service, request, size)
    else:
        first = service.ask(first_request(request, size_exponent(size)))
    whole = (
        download(service, request, first)[0] if find_block(option.BLOCK2, first.options) else without_blocks(first)
    )
    assert service.bodies == [request.payload]
    assert (whole.payload, whole.content_format, whole.options) == (body_of(answer), 112, ())


def part_of(request: Request, block: str, payload: bytes) -> Request:
    return msgspec.structs.replace(request, payload=payload, options=(block_option(block),))


@pytest.mark.parametrize(
    ("blocks", "code"),
    [
        ([("1:1/1/16", 16)], "4.08"),
        ([("1:0/1/16", 16), ("1:2/1/16", 16)], "4.08"),
        ([("1:0/1/16", 16), ("1:1/1/16", 16), ("1:1/1/16", 16)], "4.08"),
        ([("1:0/1/16", 15)], "4.00"),
        ([("1:0/1/16", 17)], "4.00"),
        ([("1:0/0/16", 5)], "2.04"),
        ([("1:0/1/16", 16), ("1:0/1/16", 16), ("1:1/0/16", 3)], "2.04"),
        ([("1:0/1/32", 32), ("1:2/0/16", 3)], "2.04"),
    ],
    ids=["no first", "gap", "repeated", "short", "long", "single", "begun again", "smaller later"],
)
def test_an_upload_is_whole_or_nothing(blocks: list[tuple[str, int]], code: str) -> None:
    service = Service(Response(code=Code.CHANGED))
    responses = [service.ask(part_of(PUT, block, body_of(length))) for block, length in blocks]
    assert str(responses[-1].code) == code
    assert bool(service.bodies) == (code == "2.04")


def test_uploads_of_two_peers_are_not_mixed() -> None:
    service = Service(Response(code=Code.CHANGED))
    service.ask(part_of(PUT, "1:0/1/16", b"a" * 16), PEER)
    service.ask(part_of(PUT, "1:0/1/16", b"b" * 16), OTHER)
    service.ask(part_of(PUT, "1:1/0/16", b"A"), PEER)
    service.ask(part_of(PUT, "1:1/0/16", b"B"), OTHER)
    assert service.bodies == [b"a" * 16 + b"A", b"b" * 16 + b"B"]


def test_another_content_format_in_the_middle_is_incomplete() -> None:
    service = Service(Response(code=Code.CHANGED))
    service.ask(part_of(PUT, "1:0/1/16", bytes(16)))
    changed = msgspec.structs.replace(part_of(PUT, "1:1/0/16", b"x"), content_format=60)
    assert service.ask(changed).code == Code.REQUEST_ENTITY_INCOMPLETE


def test_a_body_over_the_limit_is_refused_with_the_limit() -> None:
    service = Service(Response(code=Code.CHANGED), Limits(body_bytes=100))
    with_size = msgspec.structs.replace(
        part_of(PUT, "1:0/1/64", bytes(64)), options=(block_option("1:0/1/64"), (option.SIZE1, encode_uint(101)))
    )
    assert service.ask(with_size).code == Code.REQUEST_ENTITY_TOO_LARGE
    assert service.ask(part_of(PUT, "1:0/1/64", bytes(64))).code == Code.CONTINUE
    refused = service.ask(part_of(PUT, "1:1/0/64", bytes(37)))
    assert refused.code == Code.REQUEST_ENTITY_TOO_LARGE
    assert (option.SIZE1, bytes([100])) in refused.options
    assert service.ask(part_of(PUT, "1:1/0/64", bytes(36))).code == Code.REQUEST_ENTITY_INCOMPLETE


def test_the_reserved_block_size_is_a_bad_request() -> None:
    service = Service(Response(code=Code.CONTENT))
    for number in (option.BLOCK1, option.BLOCK2):
        request = msgspec.structs.replace(GET, options=((number, b"\x07"),))
        assert service.ask(request).code == Code.BAD_REQUEST
    with pytest.raises(BlockwiseError):
        find_block(option.BLOCK2, ((option.BLOCK2, b"\x0f"),))


def test_blocks_of_a_large_response_are_of_one_representation() -> None:
    service = Service(Response(code=Code.CONTENT, payload=b"a" * 2000))
    first = service.ask(GET)
    service.response = Response(code=Code.CONTENT, payload=b"b" * 2000)
    second = service.ask(msgspec.structs.replace(GET, options=(block_option("2:1/0/1024"),)))
    assert second.payload == b"a" * 976
    assert first.etag == second.etag
    assert first.etag is not None


def test_a_block_of_a_forgotten_response_is_answered_anew_only_when_that_is_safe() -> None:
    service = Service(Response(code=Code.CONTENT, payload=body_of(2000)))
    second = (block_option("2:1/0/1024"),)
    assert service.ask(msgspec.structs.replace(GET, options=second)).payload == body_of(2000)[1024:]
    post = Request(method=Code.POST, path=("x",), options=second)
    assert service.ask(post).code == Code.REQUEST_ENTITY_INCOMPLETE
    beyond = msgspec.structs.replace(GET, options=(block_option("2:2/0/1024"),))
    assert service.ask(beyond).code == Code.BAD_REQUEST


def test_kept_bodies_are_bounded_in_number_bytes_and_age() -> None:
    timers = Timers()
    store: BodyStore[Request] = BodyStore(timers, Limits(transfers=3, transfer_bytes=100), 10.0)
    keys = [((f"192.0.2.{index}", 1), Code.PUT, (), (), None, ()) for index in range(5)]
    for key in keys[:4]:
        store.put(key, PUT, bytes(20), now=0.0)
    assert [store.get(key) is not None for key in keys] == [False, True, True, True, False]
    store.extend(keys[1], bytes(50), now=5.0)
    assert [store.get(key) is not None for key in keys] == [False, True, False, True, False]
    timers.expire(12.0)
    assert [store.get(key) is not None for key in keys] == [False, True, False, False, False]
    timers.expire(15.0)
    assert len(store) == 0
    store.put(keys[4], PUT, bytes(101), now=16.0)
    assert len(store) == 0


def test_an_upload_begins_again_when_the_server_lost_it_and_gives_up_at_last() -> None:
    sender = Upload(PUT, size_exponent(128))
    lost = Response(code=Code.REQUEST_ENTITY_INCOMPLETE)
    outcomes = []
    for _ in range(3):
        assert shown(sender.next_request()) == "1:0/1/128"
        assert not sender.receive(Response(code=Code.CONTINUE, options=(block_option("1:0/1/128"),)))
        outcomes.append(sender.receive(lost))
    assert outcomes == [False, False, True]


def test_an_upload_begins_again_with_the_block_size_the_server_can_take() -> None:
    sender = Upload(PUT, size_exponent(128))
    wish = Response(code=Code.REQUEST_ENTITY_TOO_LARGE, options=(block_option("1:0/1/64"),))
    assert not sender.receive(wish)
    assert shown(sender.next_request()) == "1:0/1/64"
    assert sender.receive(wish), "the same wish again is final"
    assert smaller_upload(PUT, wish) == size_exponent(64)
    assert smaller_upload(PUT, Response(code=Code.REQUEST_ENTITY_TOO_LARGE)) is None


@pytest.mark.parametrize(
    "response",
    [
        Response(code=Code.CONTINUE),
        Response(code=Code.CHANGED),
        Response(code=Code.CONTINUE, options=(block_option("1:1/1/128"),)),
    ],
)
def test_an_unconfirmed_block_breaks_the_upload(response: Response) -> None:
    with pytest.raises(BlockwiseError):
        Upload(PUT, size_exponent(128)).receive(response)


def test_a_server_that_wants_more_than_there_is_breaks_the_upload() -> None:
    sender = Upload(PUT, size_exponent(1024))
    with pytest.raises(BlockwiseError):
        sender.receive(Response(code=Code.CONTINUE, options=(block_option("1:0/1/1024"),)))


def content(block: str, payload: bytes, etag: bytes | None = None) -> Response:
    return Response(code=Code.CONTENT, payload=payload, etag=etag, options=(block_option(block),))


def test_a_download_begins_again_when_the_representation_changes() -> None:
    first = content("2:0/1/16", b"a" * 16, b"1")
    collector = Download(GET, first, 1000)
    assert collector.receive(first) is None
    assert collector.receive(content("2:1/0/16", b"b", b"2")) is None
    assert shown(collector.next_request()) == "2:0/0/16"
    assert collector.receive(content("2:0/1/16", b"b" * 16, b"2")) is None
    whole = collector.receive(content("2:1/0/16", b"b", b"2"))
    assert whole is not None
    assert (whole.payload, whole.etag) == (b"b" * 17, b"2")


def test_a_representation_that_changes_all_the_time_is_given_up() -> None:
    first = content("2:0/1/16", b"a" * 16, b"1")
    collector = Download(GET, first, 1000)
    collector.receive(first)
    for version in (b"2", b"3"):
        assert collector.receive(content("2:1/1/16", b"a" * 16, version)) is None
        assert collector.receive(content("2:0/1/16", b"a" * 16, version)) is None
    with pytest.raises(BlockwiseError, match="faster"):
        collector.receive(content("2:1/1/16", b"a" * 16, b"4"))


@pytest.mark.parametrize(
    "second",
    [
        content("2:2/0/16", b"b"),
        content("2:1/1/16", b"b"),
        Response(code=Code.CONTENT, payload=b"b"),
        content("2:1/1/16", b"b" * 16),
    ],
    ids=["gap", "short", "no block", "over the limit"],
)
def test_a_block_that_does_not_fit_breaks_the_download(second: Response) -> None:
    first = content("2:0/1/16", b"a" * 16)
    collector = Download(GET, first, 20)
    collector.receive(first)
    with pytest.raises(BlockwiseError):
        collector.receive(second)


def test_an_error_in_the_middle_is_the_response() -> None:
    first = content("2:0/1/16", b"a" * 16)
    collector = Download(GET, first, 1000)
    collector.receive(first)
    assert collector.receive(Response(code=Code.NOT_FOUND)) == Response(code=Code.NOT_FOUND)


@pytest.mark.parametrize("size", [0, 8, 15, 17, 100, 2048, -16])
def test_a_block_size_is_a_power_of_two(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        size_exponent(size)
