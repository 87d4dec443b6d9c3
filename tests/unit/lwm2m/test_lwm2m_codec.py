from __future__ import annotations

import contextlib
import json
import math

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.lwm2m.codec.content import decode_payload, encode_payload
from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.errors import Lwm2mError, PayloadError, UnsupportedFormatError
from fita.lwm2m.objects.core import Device
from fita.lwm2m.path import MAX_ID, Path
from fita.lwm2m.value import ObjectLink, Value

# The Device object of the LwM2M specification's examples (Core 1.1 sections 7.4.3 to 7.4.5).
DEVICE: dict[Path, Value] = {
    Path(3, 0, 0): "Open Mobile Alliance",
    Path(3, 0, 1): "Lightweight M2M Client",
    Path(3, 0, 2): "345000123",
    Path(3, 0, 3): "1.0",
    Path(3, 0, 6, 0): 1,
    Path(3, 0, 6, 1): 5,
    Path(3, 0, 7, 0): 3800,
    Path(3, 0, 7, 1): 5000,
    Path(3, 0, 8, 0): 125,
    Path(3, 0, 8, 1): 900,
    Path(3, 0, 9): 100,
    Path(3, 0, 10): 15,
    Path(3, 0, 11, 0): 0,
    Path(3, 0, 13): 1367491215,
    Path(3, 0, 14): "+02:00",
    Path(3, 0, 16): "U",
}
DEVICE_TLV = bytes.fromhex(
    "C800144F70656E204D6F62696C6520416C6C69616E6365"
    "C801164C69676874776569676874204D324D20436C69656E74"
    "C80209333435303030313233"
    "C303312E30"
    "86064100014101 05"
    "88070842000ED842011388"
    "87084100 7D42010384"
    "C10964"
    "C10A0F"
    "830B410000"
    "C40D5182428F"
    "C60E2B30323A3030"
    "C11055"
)
DEVICE_JSON = b"""[{"bn":"/3/0/","n":"0","vs":"Open Mobile Alliance"},
{"n":"1","vs":"Lightweight M2M Client"},
{"n":"2","vs":"345000123"},
{"n":"3","vs":"1.0"},
{"n":"6/0","v":1},{"n":"6/1","v":5},
{"n":"7/0","v":3800},{"n":"7/1","v":5000},
{"n":"8/0","v":125},{"n":"8/1","v":900},
{"n":"9","v":100},{"n":"10","v":15},{"n":"11/0","v":0},
{"n":"13","v":1367491215},{"n":"14","vs":"+02:00"},{"n":"16","vs":"U"}]"""


DEVICE_PATH = Path(3)


def senml(*records: dict[object, object]) -> bytes:
    return cbor2.dumps(list(records))


def read_cbor(*records: dict[object, object], path: Path = DEVICE_PATH) -> dict[Path, Value]:
    return decode_payload(senml(*records), ContentFormat.SENML_CBOR, path)


# What the specification shows


@pytest.mark.parametrize("path", [Path(3), Path(3, 0)])
def test_reads_the_specifications_tlv(path: Path) -> None:
    payload = DEVICE_TLV if path.depth == 2 else bytes.fromhex("080079") + DEVICE_TLV
    assert decode_payload(payload, ContentFormat.TLV, path) == DEVICE


def test_writes_the_specifications_tlv() -> None:
    assert encode_payload(DEVICE, ContentFormat.TLV) == DEVICE_TLV


def test_reads_the_specifications_senml_json() -> None:
    assert decode_payload(DEVICE_JSON, ContentFormat.SENML_JSON, Path(3, 0)) == DEVICE


def test_reads_senml_cbor_with_a_base_name() -> None:
    labels = {"bn": -2, "n": 0, "v": 2, "vs": 3}
    records = [{labels[key]: item for key, item in record.items()} for record in json.loads(DEVICE_JSON)]
    assert decode_payload(cbor2.dumps(records), ContentFormat.SENML_CBOR, Path(3)) == DEVICE


def test_values_are_seen_through_the_declaration() -> None:
    device = Device.first_from(DEVICE)
    assert (device.manufacturer, device.battery_level, device.error_code) == ("Open Mobile Alliance", 100, {0: 0})
    assert device.voltages_mv == {0: 3800, 1: 5000}
    assert device.memory_total_kb is None


# SenML's rules


def test_base_value_is_added_and_base_name_replaced() -> None:
    values = read_cbor(
        {-2: "/3303/0/", -5: 20, 0: "5700", 2: 1.5}, {0: "5601", 2: -3}, {-2: "/3303/1/", 0: "5700", 2: 4},
        path=Path(3303),
    )  # fmt: skip
    assert values == {Path(3303, 0, 5700): 21.5, Path(3303, 0, 5601): 17, Path(3303, 1, 5700): 24}


def test_the_newest_value_by_time_wins() -> None:
    values = read_cbor(
        {-2: "/3303/0/5700", -3: 1_700_000_000, 2: 1.0, 6: -5}, {2: 2.0, 6: 0}, {2: 3.0, 6: -9},
        path=Path(3303, 0, 5700),
    )  # fmt: skip
    assert values == {Path(3303, 0, 5700): 2.0}


def test_links_bytes_and_big_decimal_numbers() -> None:
    pack = senml({0: "/9/0/5", "vlo": "9:1000"}, {0: "/9/0/2", 8: b"\1\2"}) + b""
    values = decode_payload(pack, ContentFormat.SENML_CBOR, Path(9))
    assert values == {Path(9, 0, 5): ObjectLink(9, 1000), Path(9, 0, 2): b"\1\2"}
    decimal = bytes.fromhex("81a2 00 68 2f332f302f312f31".replace(" ", "")) + bytes.fromhex("02 c4 82 21 19 0ac0")
    assert decode_payload(decimal, ContentFormat.SENML_CBOR, Path(3)) == {Path(3, 0, 1, 1): 27.52}


def test_json_data_is_base64url_without_padding() -> None:
    payload = b'[{"n":"/9/0/2","vd":"-_8"}]'
    assert decode_payload(payload, ContentFormat.SENML_JSON, Path(9, 0, 2)) == {Path(9, 0, 2): b"\xfb\xff"}
    assert b'vd":"-_8"' in encode_payload({Path(9, 0, 2): b"\xfb\xff"}, ContentFormat.SENML_JSON)


def test_an_unknown_field_is_ignored_unless_it_must_be_understood() -> None:
    assert read_cbor({0: "/3/0/9", 2: 5, "x": [], 99: 1}) == {Path(3, 0, 9): 5}
    with pytest.raises(PayloadError, match="must be understood"):
        read_cbor({0: "/3/0/9", 2: 5, "x_": 1})


def test_what_lies_elsewhere_is_dropped() -> None:
    assert read_cbor({0: "/3/0/9", 2: 5}, {0: "/4/0/2", 2: -70}) == {Path(3, 0, 9): 5}


# Forms that clients choose between


def test_tlv_reads_whatever_a_client_wraps_around_a_resource() -> None:
    expected = {Path(3303, 0, 5700): 21.5}
    bare = bytes.fromhex("E4 1644 41AC0000")
    assert decode_payload(bare, ContentFormat.TLV, Path(3303, 0, 5700)) == expected
    assert decode_payload(bytes.fromhex("0700") + bare, ContentFormat.TLV, Path(3303)) == expected
    assert decode_payload(bare, ContentFormat.TLV, Path(3303)) == expected


def test_tlv_reads_the_instances_of_one_resource() -> None:
    expected = {Path(4, 0, 4, 0): "10.0.0.7", Path(4, 0, 4, 1): "::1"}
    inner = bytes.fromhex("480008") + b"10.0.0.7" + bytes.fromhex("4301") + b"::1"
    assert decode_payload(inner, ContentFormat.TLV, Path(4, 0, 4)) == expected
    assert decode_payload(bytes((0x88, 4, len(inner))) + inner, ContentFormat.TLV, Path(4, 0, 4)) == expected


def test_tlv_of_an_undeclared_resource_stays_bytes() -> None:
    assert decode_payload(bytes.fromhex("C10705"), ContentFormat.TLV, Path(26241, 0)) == {Path(26241, 0, 7): b"\5"}


@pytest.mark.parametrize(
    ("payload", "path", "value"),
    [
        (b"21.5", Path(3303, 0, 5700), 21.5),
        (b"21", Path(3303, 0, 5700), 21.0),
        (b"1", Path(9, 0, 12), True),
        (b"9:1000", Path(35003, 1, 27400), ObjectLink(9, 1000)),
        (b"-70", Path(4, 0, 2), -70),
        (b"hi", Path(26241, 0, 1), "hi"),
    ],
)
@pytest.mark.parametrize("content_format", [ContentFormat.TEXT, None])
def test_reads_text_by_the_declared_type(
    payload: bytes, path: Path, value: Value, content_format: int | None
) -> None:
    (found,) = decode_payload(payload, content_format, path).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, b"1"), (0.5, b"0.5"), (7, b"7"), ("a", b"a"), (b"\0", b"AA=="), (ObjectLink(9, 1), b"9:1")],
)
def test_writes_text(value: Value, text: bytes) -> None:
    assert encode_payload({Path(1, 2, 3): value}, ContentFormat.TEXT) == text


# There and back

ids = st.integers(0, MAX_ID)
values_of_any_type: st.SearchStrategy[Value] = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.builds(ObjectLink, st.integers(0, 65535), st.integers(0, 65535)),
)
paths = st.builds(Path, st.just(26241), ids, ids, st.one_of(st.none(), ids))


@pytest.mark.parametrize("content_format", [ContentFormat.SENML_CBOR, ContentFormat.SENML_JSON])
@given(values=st.dictionaries(paths, values_of_any_type, max_size=8))
@settings(max_examples=60)
def test_senml_keeps_every_value(content_format: ContentFormat, values: dict[Path, Value]) -> None:
    if content_format is ContentFormat.SENML_JSON and math.inf in {
        abs(v) for v in values.values() if type(v) is float
    }:
        with pytest.raises(PayloadError, match="JSON cannot say"):
            encode_payload(values, content_format)
        return
    payload = encode_payload(values, content_format)
    assert decode_payload(payload, content_format, Path(26241)) == values


@given(
    manufacturer=st.text(max_size=300), battery=st.integers(-(2**63), 2**63 - 1),
    voltages=st.dictionaries(ids, st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
)  # fmt: skip
@settings(max_examples=60)
def test_tlv_keeps_every_declared_value(manufacturer: str, battery: int, voltages: dict[int, int]) -> None:
    values: dict[Path, Value] = {Path(3, 7, 0): manufacturer, Path(3, 7, 9): battery}
    values |= {Path(3, 7, 7, index): voltage for index, voltage in voltages.items()}
    assert decode_payload(encode_payload(values, ContentFormat.TLV), ContentFormat.TLV, Path(3, 7)) == values


@given(number=st.floats())
def test_tlv_keeps_floats_in_the_shorter_form_that_is_exact(number: float) -> None:
    path = Path(3303, 0, 5700)
    payload = encode_payload({path: number}, ContentFormat.TLV)
    (found,) = decode_payload(payload, ContentFormat.TLV, path).values()
    assert found == number or (math.isnan(number) and math.isnan(float(str(found))))


# What hostile or broken devices send


def named_error(payload: bytes, content_format: int, path: Path) -> None:
    """Whatever the bytes are: values or one of this package's errors."""
    with contextlib.suppress(Lwm2mError):
        decode_payload(payload, content_format, path)


@given(
    payload=st.binary(max_size=200),
    content_format=st.sampled_from([*ContentFormat, 60, 65535]),
    path=st.sampled_from([Path(3), Path(3, 0), Path(3, 0, 0), Path(9, 0, 12), Path(4, 0, 4, 1)]),
)
@settings(max_examples=400)
def test_any_bytes_give_values_or_a_named_error(payload: bytes, content_format: int, path: Path) -> None:
    named_error(payload, content_format, path)


any_cbor = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=9),
        st.binary(max_size=9),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.integers(-8, 9), inner, max_size=4)),
    max_leaves=8,
)


@given(item=st.lists(st.dictionaries(st.integers(-8, 9), any_cbor, max_size=5), max_size=4))
@settings(max_examples=200)
def test_any_cbor_gives_values_or_a_named_error(item: object) -> None:
    named_error(cbor2.dumps(item), ContentFormat.SENML_CBOR, Path(3))


@given(item=st.integers(0, len(DEVICE_TLV) - 1), flip=st.integers(1, 255), cut=st.integers(0, len(DEVICE_TLV)))
@settings(max_examples=200)
def test_damaged_tlv_gives_values_or_a_named_error(item: int, flip: int, cut: int) -> None:
    damaged = bytearray(DEVICE_TLV)
    damaged[item] ^= flip
    named_error(bytes(damaged), ContentFormat.TLV, Path(3, 0))
    named_error(DEVICE_TLV[:cut], ContentFormat.TLV, Path(3, 0))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81" * 5000 + b"\0",
        b"\x9b" + b"\xff" * 8,
        b"\x9b\0\0\0\0\x7f\xff\xff\xff",
        b"\x81\xa1\0\x7b\x7f" + b"\xff" * 7,
        b"\x81\xbb\0\0\0\x7f\xff\xff\xff\xff",
        b"\x9f" * 1000,
        b"\x81\xd8\x1c\x81\xd8\x1d\0",  # a list that holds itself
        b"\x81\xa2\0\x65/3/0/\x02\xc4\x82\x1a\x7f\xff\xff\xff\x01",  # 10 to the power of 2^31
        b"\x81\xa2\0\x66/3/0/9\x02\xc2\x59\x40\0" + b"\xff" * 0x4000,  # a number of 16 kB
        b"\x81\xa2\0\x66/3/0/9\x02\xd8\x23\x63a*b",  # a regular expression
        b"\x81\xa2\0\x66/3/0/9\x02\xf6",
        b"\x81\xa2\0\x66/3/0/9\x03\x02",
        b"\x81\xa3\0\x66/3/0/9\x03\x61a\x02\x02",
        b"\x81\xa2\0\x69/3/0/9/9/9\x02\x02",
        b"\x81\xa2\0\x68/3/99999\x02\x02",
        b"\x81\xa2\x20\x0b\x00\x00",
        b"\x81\x01",
        b"\xa0",
        b"",
    ],
)
def test_hostile_senml_cbor_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError, match="content format 112"):
        decode_payload(payload, ContentFormat.SENML_CBOR, Path(3))


@pytest.mark.parametrize(
    "payload",
    [b"[" * 100_000, b"{}",
     b"[1]", b'[{"n":"/3/0/9","v":"1"}]', b'[{"n":"/3/0/9","v":true}]', b'[{"n":"3/0/2","vd":"!"}]',
     b'[{"n":"3/0/2","vd":"A"}]', b'[{"n":"/9/0/5","vlo":"9"}]', b"\xff"],
)  # fmt: skip
def test_hostile_senml_json_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError, match="content format 110"):
        decode_payload(payload, ContentFormat.SENML_JSON, Path(3))


@pytest.mark.parametrize(
    "payload",
    ["C8", "C80005", "D8FFFFFFFF", "F8FFFF00FFFFFF", "E1FFFF01", "C1090143", "080041", "0803C80001", "8203C100",
     "C3096400FF"],
)  # fmt: skip
def test_hostile_tlv_is_refused(payload: str) -> None:
    with pytest.raises(PayloadError, match="content format 11542"):
        decode_payload(bytes.fromhex(payload), ContentFormat.TLV, Path(3, 0))


@pytest.mark.parametrize("payload", [b"", b"x", b"1_0", b"0x10", "١".encode(), b"\xff", b"9" * 5000])
def test_text_of_the_wrong_type_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError, match="/3/0/9"):
        decode_payload(payload, ContentFormat.TEXT, Path(3, 0, 9))


def test_an_unknown_content_format_is_named() -> None:
    with pytest.raises(UnsupportedFormatError, match="11543"):
        decode_payload(b"{}", 11543, Path(3))
    with pytest.raises(UnsupportedFormatError, match="60"):
        encode_payload({Path(3, 0, 9): 1}, 60)
    with pytest.raises(PayloadError, match="exactly one"):
        encode_payload(DEVICE, ContentFormat.TEXT)


def test_a_value_that_does_not_fit_its_type_is_not_written() -> None:
    with pytest.raises(PayloadError, match="no integer"):
        encode_payload({Path(3, 0, 9): "full"}, ContentFormat.TLV)
