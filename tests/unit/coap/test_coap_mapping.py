from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.coap.code import Code
from fita.coap.errors import BadOptionError, ResponseError, TransportError
from fita.coap.interfaces import Option, Request, Response, TransmissionParameters
from fita.coap.message import option
from fita.coap.message.format import ACK, CON, Message, decode
from fita.coap.peer import canonical_peer
from fita.coap.request.mapping import read_request, read_response, request_options, response_options

segments = st.text(max_size=20).filter(lambda text: text not in {".", ".."}).map(str)
uint16 = st.none() | st.integers(0, 0xFFFF)
uint24 = st.none() | st.integers(0, 0xFFFFFF)

requests = st.builds(
    Request,
    method=st.sampled_from([Code.GET, Code.POST, Code.PUT, Code.DELETE, Code.FETCH]),
    path=st.lists(segments, max_size=4).map(tuple),
    query=st.lists(segments, max_size=4).map(tuple),
    content_format=uint16,
    accept=uint16,
    payload=st.binary(max_size=20),
    observe=uint24,
)
responses = st.builds(
    Response,
    code=st.sampled_from([Code.CREATED, Code.CONTENT, Code.NOT_FOUND]),
    payload=st.binary(max_size=20),
    content_format=uint16,
    location_path=st.lists(segments, max_size=3).map(tuple),
    location_query=st.lists(segments, max_size=3).map(tuple),
    etag=st.none() | st.binary(min_size=1, max_size=8),
    max_age_s=st.none() | st.integers(0, 2**32 - 1),
    observe=uint24,
)


def request_of(*options: Option) -> Message:
    return Message(CON, Code.GET, 1, b"", options)


@given(requests)
@settings(max_examples=100)
def test_a_request_survives_the_wire(request: Request) -> None:
    message = Message(CON, request.method, 1, b"t", tuple(request_options(request)), request.payload)
    assert read_request(decode(message.encode())) == request


@given(responses)
@settings(max_examples=100)
def test_a_response_survives_the_wire(response: Response) -> None:
    message = Message(ACK, response.code, 1, b"t", tuple(response_options(response)), response.payload)
    assert read_response(decode(message.encode())) == response


def test_the_registration_of_a_device() -> None:
    options = (
        (11, b"rd"),
        (12, b"\x28"),
        (15, b"ep=b1_node1"),
        (15, b"lt=86400"),
        (3, b"gateway"),
        (7, b"\x16\x33"),
    )
    request = read_request(Message(CON, Code.POST, 1, b"", options, b"</3/0>"))
    assert request.path_text == "/rd"
    assert request.query == ("ep=b1_node1", "lt=86400")
    assert request.content_format == 40
    assert request.options == ()


@pytest.mark.parametrize(
    "entry",
    [
        (option.OSCORE, b""),
        (option.IF_MATCH, b"1"),
        (option.PROXY_URI, b"coap://other/"),
        (2049, b""),
        (option.URI_PATH, b"\xff\xfe"),
        (option.URI_PATH, b".."),
        (option.URI_PATH, b"a" * 256),
        (option.ACCEPT, b"123"),
        (option.BLOCK1, b"1234"),
    ],
)
def test_a_critical_option_that_is_not_understood_is_refused(entry: Option) -> None:
    with pytest.raises(BadOptionError) as caught:
        read_request(request_of(entry))
    assert caught.value.number == entry[0]


@pytest.mark.parametrize("number", [option.ACCEPT, option.BLOCK1, option.BLOCK2])
def test_a_repeated_critical_option_is_refused(number: int) -> None:
    with pytest.raises(BadOptionError):
        read_request(request_of((number, b"\x01"), (number, b"\x01")))


def test_an_elective_option_that_is_not_understood_is_ignored() -> None:
    request = read_request(
        request_of((option.CONTENT_FORMAT, b"123"), (option.OBSERVE, b"1234"), (option.SIZE1, b"12345"))
    )
    assert (request.content_format, request.observe, request.options) == (None, None, ())
    assert read_request(request_of((2048, b"kept"))).options == ((2048, b"kept"),)


def test_an_impossible_etag_of_a_response_is_ignored() -> None:
    message = Message(ACK, Code.CONTENT, 1, b"", ((option.ETAG, b"123456789"), (option.MAX_AGE, b"12345")))
    assert read_response(message) == Response(code=Code.CONTENT)


def test_an_error_response_carries_its_diagnostic() -> None:
    response = Response(code=Code.BAD_REQUEST, payload="kein Gerät".encode())
    with pytest.raises(ResponseError, match=r"4\.00 Bad Request: kein Gerät"):
        response.checked()
    assert Response(code=Code.CONTENT, payload=b"1", content_format=0).diagnostic == ""
    assert Response(code=Code.CREATED).checked().code == Code.CREATED


def test_the_derived_parameters_of_rfc_7252_section_4_8_2() -> None:
    parameters = TransmissionParameters()
    assert parameters.max_transmit_span_s == 45
    assert parameters.max_transmit_wait_s == 93
    assert parameters.exchange_lifetime_s == 247


@pytest.mark.parametrize(
    ("spelling", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:C000:0207", "192.0.2.7"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("fe80::1%1", "fe80::1%1"),
        ("fe80::1%lo", "fe80::1%1"),
    ],
)
def test_a_peer_has_one_spelling(spelling: str, peer: str) -> None:
    assert canonical_peer((spelling, 5683)) == (peer, 5683)


@pytest.mark.parametrize(
    "peer", [("device.local", 1), ("", 1), ("fe80::1%nowhere", 1), ("::1", 0), ("::1", 65536)]
)
def test_a_peer_is_a_numeric_address_and_a_port(peer: tuple[str, int]) -> None:
    with pytest.raises(TransportError):
        canonical_peer(peer)
