from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fita.coap.code import CODES, Code
from fita.coap.errors import MalformedMessageError
from fita.coap.message import option
from fita.coap.message.format import ACK, CON, MAX_OPTIONS, NON, RST, Message, MessageType, decode, encode_empty

PATH = (option.URI_PATH, b"temperature")

# RFC 7252 appendix A, figures 16 to 22.
APPENDIX_A = [
    (Message(CON, Code.GET, 0x7D34, b"", (PATH,)), "40017d34 bb74656d7065726174757265"),
    (Message(ACK, Code.CONTENT, 0x7D34, b"", (), b"22.3 C"), "60457d34 ff32322e332043"),
    (Message(CON, Code.GET, 0x7D35, b"\x20", (PATH,)), "41017d35 20 bb74656d7065726174757265"),
    (Message(ACK, Code.CONTENT, 0x7D35, b"\x20", (), b"22.3 C"), "61457d35 20 ff32322e332043"),
    (Message(ACK, Code.EMPTY, 0x7D38), "60007d38"),
    (Message(CON, Code.CONTENT, 0xAD7B, b"\x53", (), b"22.3 C"), "4145ad7b 53 ff32322e332043"),
    (Message(ACK, Code.EMPTY, 0xAD7B), "6000ad7b"),
    (Message(RST, Code.EMPTY, 0xAD7C), "7000ad7c"),
    (Message(NON, Code.GET, 0x7D40, b"\x75", (PATH,)), "51017d40 75 bb74656d7065726174757265"),
    (Message(NON, Code.CONTENT, 0xAD7D, b"\x75", (), b"22.3 C"), "5145ad7d 75 ff32322e332043"),
]

OPTION_BOUNDARIES = [
    ((12, b""), "c0"),
    ((13, b""), "d000"),
    ((268, b""), "d0ff"),
    ((269, b""), "e00000"),
    ((65535, b""), "e0fef2"),
    ((1, b"a" * 12), "1c" + "61" * 12),
    ((1, b"a" * 13), "1d00" + "61" * 13),
    ((1, b"a" * 268), "1dff" + "61" * 268),
    ((1, b"a" * 269), "1e0000" + "61" * 269),
]

MALFORMED = {
    "nothing": ("", None),
    "three bytes": ("400101", None),
    "version 0": ("00010001", None),
    "version 2": ("80010001", None),
    "token of 9 bytes": ("49010001" + "00" * 9, 1),
    "token of 15 bytes": ("4f010001" + "00" * 15, 1),
    "truncated token": ("44010001" + "0000", 1),
    "empty with a token": ("41000001aa", 1),
    "empty with a payload": ("40000001ff00", 1),
    "reserved class 1": ("40200001", 1),
    "reserved class 6": ("40c00001", 1),
    "reserved class 7": ("40e10001", 1),
    "marker without payload": ("40010001ff", 1),
    "option delta 15": ("40010001f0", 1),
    "option length 15": ("400100010f", 1),
    "truncated option": ("400100013361", 1),
    "truncated 1-byte delta": ("40010001d0", 1),
    "truncated 2-byte delta": ("40010001e000", 1),
    "truncated 1-byte length": ("400100010d", 1),
    "truncated 2-byte length": ("400100010e00", 1),
    "option number 65536": ("40010001e0fef310", 1),
    "a non-confirmable one is not reset": ("50010001ff", None),
}


@pytest.mark.parametrize(("message", "text"), APPENDIX_A)
def test_the_examples_of_rfc_7252_appendix_a(message: Message, text: str) -> None:
    assert message.encode() == bytes.fromhex(text)
    assert decode(bytes.fromhex(text)) == message


@pytest.mark.parametrize(("entry", "text"), OPTION_BOUNDARIES)
def test_the_boundaries_of_option_headers(entry: tuple[int, bytes], text: str) -> None:
    datagram = bytes.fromhex("40010001" + text)
    assert Message(CON, Code.GET, 1, b"", (entry,)).encode() == datagram
    assert decode(datagram).options == (entry,)


@pytest.mark.parametrize(("text", "reset_message_id"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_message_is_rejected_if_it_was_confirmable(text: str, reset_message_id: int | None) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode(bytes.fromhex(text))
    assert caught.value.reset_message_id == reset_message_id


def test_options_are_sorted_and_repeated_ones_keep_their_order() -> None:
    options = ((15, b"b=U"), (11, b"rd"), (15, b"a"), (11, b"1"))
    decoded = decode(Message(CON, Code.POST, 1, b"", options).encode())
    assert decoded.options == ((11, b"rd"), (11, b"1"), (15, b"b=U"), (15, b"a"))


def test_too_many_options_are_malformed() -> None:
    many = ((11, b""),) * (MAX_OPTIONS + 1)
    assert len(decode(Message(CON, Code.GET, 1, b"", many[1:]).encode()).options) == MAX_OPTIONS
    with pytest.raises(MalformedMessageError):
        decode(Message(CON, Code.GET, 1, b"", many).encode())


@pytest.mark.parametrize(
    "message",
    [
        Message(CON, Code.GET, 0x10000),
        Message(CON, Code.GET, 1, b"123456789"),
        Message(CON, Code.GET, 1, b"", ((65536, b""),)),
        Message(CON, Code.GET, 1, b"", ((1, bytes(65805)),)),
    ],
    ids=["message id", "token", "option number", "option length"],
)
def test_what_the_format_cannot_carry_is_refused(message: Message) -> None:
    with pytest.raises(MalformedMessageError):
        message.encode()


@pytest.mark.parametrize(("message_type", "first"), [(CON, 0x40), (ACK, 0x60), (RST, 0x70)])
def test_empty_messages(message_type: MessageType, first: int) -> None:
    assert encode_empty(message_type, 0xABCD) == bytes((first, 0, 0xAB, 0xCD))
    assert decode(encode_empty(message_type, 0xABCD)) == Message(message_type, Code.EMPTY, 0xABCD)


codes = st.sampled_from([code for code in CODES if code and code.code_class in {0, 2, 3, 4, 5}])
options = st.lists(
    st.tuples(st.integers(0, 65535), st.one_of(st.binary(max_size=20), st.binary(min_size=260, max_size=300))),
    max_size=12,
)
messages = st.builds(
    Message,
    st.sampled_from([CON, NON, ACK]),
    codes,
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    options.map(lambda entries: tuple(sorted(entries, key=lambda entry: entry[0]))),
    st.binary(max_size=64),
)


@given(messages)
@settings(max_examples=150)
def test_decoding_undoes_encoding(message: Message) -> None:
    assert decode(message.encode()) == message


@given(st.binary(max_size=80))
@settings(max_examples=400)
@example(b"\x40\x01\x00\x01\xff")
def test_no_bytes_make_decoding_raise_anything_else(datagram: bytes) -> None:
    try:
        message = decode(datagram)
    except MalformedMessageError:
        return
    assert decode(message.encode()) == message


@given(messages, st.data())
@settings(max_examples=300)
def test_no_damage_to_a_message_makes_decoding_raise_anything_else(message: Message, data: st.DataObject) -> None:
    datagram = bytearray(message.encode())
    position = data.draw(st.integers(0, len(datagram) - 1))
    datagram[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(datagram)))
    for damaged in (bytes(datagram), bytes(datagram[:cut])):
        with contextlib.suppress(MalformedMessageError):
            decode(damaged)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_unsigned_integers_have_no_leading_zeros_and_accept_them(value: int, zeros: int) -> None:
    encoded = option.encode_uint(value)
    assert not encoded.startswith(b"\0")
    assert option.decode_uint(bytes(zeros) + encoded) == value


def test_codes_are_written_as_the_standard_writes_them() -> None:
    assert str(Code.CONTENT) == "2.05"
    assert repr(Code.NOT_FOUND) == "<4.04 Not Found>"
    assert repr(CODES[0x9E]) == "<4.30>"
    assert Code.GET.is_request
    assert not Code.EMPTY.is_request
    assert Code.CONTENT.is_response
    assert not CODES[0x20].is_response
    assert (Code.CREATED, Code.CONTINUE, Code.GATEWAY_TIMEOUT) == (0x41, 0x5F, 0xA4)
    assert CODES[0x45] is Code.CONTENT
