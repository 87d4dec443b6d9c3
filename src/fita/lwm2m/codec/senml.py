"""SenML in CBOR (112) and JSON (110) as LwM2M uses it (RFC 8428, LwM2M Core 1.1 section 7.4.4 and 7.4.5).

Base name, base time and base value carry over to later records; of several values of one path the newest by
time counts, else the last. Nothing nested deeper than a number's own form is decoded, and no CBOR tag but those
of big and decimal numbers.
"""

from __future__ import annotations

import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import cbor2
import msgspec

from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.errors import PathError, PayloadError
from fita.lwm2m.path import Path, parse_path
from fita.lwm2m.value import OBJECT_LINK, ObjectLink, Value

_HIGHEST_VERSION = 10  # RFC 8428 section 4.4
_MAX_DEPTH = 4  # pack, record, tagged number, its parts
_CBOR_LABELS: dict[object, str] = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_CBOR_NUMBERS = {label: number for number, label in _CBOR_LABELS.items()}
_VALUE_LABELS = frozenset({"v", "vs", "vb", "vd", "vlo"})
_LABELS_OF_ONE = _VALUE_LABELS | {"n", "u", "t"}  # what says nothing about the records that follow
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}", re.ASCII)


def decode_senml_cbor(payload: bytes) -> dict[Path, Value]:
    """The values in a SenML CBOR pack. Raises `PayloadError`."""
    try:
        pack = cbor2.loads(
            payload, max_depth=_MAX_DEPTH, semantic_decoders=_REFUSED_TAGS, strict_hashable_types=False
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise PayloadError(ContentFormat.SENML_CBOR, f"no CBOR: {_brief(error)}") from error
    records = [
        {_cbor_label(key): value for key, value in _record(ContentFormat.SENML_CBOR, item)}
        for item in _list(ContentFormat.SENML_CBOR, pack)
    ]
    return _Resolver(ContentFormat.SENML_CBOR).resolve(records)


def decode_senml_json(payload: bytes) -> dict[Path, Value]:
    """The values in a SenML JSON pack. Raises `PayloadError`."""
    try:
        pack = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(ContentFormat.SENML_JSON, f"no JSON: {_brief(error)}") from error
    records = [dict(_record(ContentFormat.SENML_JSON, item)) for item in _list(ContentFormat.SENML_JSON, pack)]
    return _Resolver(ContentFormat.SENML_JSON).resolve(records)


def encode_senml_cbor(values: Mapping[Path, Value]) -> bytes:
    """`values` as a SenML CBOR pack without base fields."""
    return cbor2.dumps(
        [{_CBOR_NUMBERS.get(label, label): item for label, item in record} for record in _records(values)]
    )


def encode_senml_json(values: Mapping[Path, Value]) -> bytes:
    """`values` as a SenML JSON pack without base fields. Raises `PayloadError` for what JSON cannot say."""
    return msgspec.json.encode(
        [{label: _json_item(item) for label, item in record} for record in _records(values)]
    )


def _json_item(item: Value) -> Value:
    if isinstance(item, bytes):
        return urlsafe_b64encode(item).rstrip(b"=").decode()
    if isinstance(item, float) and not math.isfinite(item):
        raise PayloadError(ContentFormat.SENML_JSON, f"JSON cannot say {item}")
    return item


def _records(values: Mapping[Path, Value]) -> Iterable[list[tuple[str, Value]]]:
    for path, value in values.items():
        match value:
            case bool():
                labelled: tuple[str, Value] = ("vb", value)
            case ObjectLink():
                labelled = ("vlo", str(value))
            case str():
                labelled = ("vs", value)
            case bytes():
                labelled = ("vd", value)
            case _:
                labelled = ("v", value)
        yield [("n", str(path)), labelled]


class _Resolver:
    """Turns labelled records into values by path (RFC 8428 section 4.6)."""

    def __init__(self, content_format: ContentFormat) -> None:
        self._format = content_format
        self._base_name = ""
        self._base_time = 0.0
        self._base_value = 0.0
        self._values: dict[Path, Value] = {}
        self._times: dict[Path, float] = {}

    def resolve(self, records: Iterable[dict[str, Any]]) -> dict[Path, Value]:
        for record in records:
            if not record.keys() <= _LABELS_OF_ONE:
                self._take_base(record)
            value = self._value(record)
            if value is None:  # a record of base fields only
                continue
            path = self._path(record)
            time_s = self._base_time + self._number(record["t"]) if "t" in record else self._base_time
            if path not in self._values or time_s >= self._times[path]:
                self._values[path] = value
                self._times[path] = time_s
        return self._values

    def _take_base(self, record: dict[str, Any]) -> None:
        for label, item in record.items():
            match label:
                case "bn":
                    self._base_name = self._string(item)
                case "bt":
                    self._base_time = self._number(item)
                case "bv":
                    self._base_value = self._number(item)
                case "bver":
                    if self._number(item) > _HIGHEST_VERSION:
                        raise PayloadError(self._format, f"SenML version {item}, at most 10 is understood")
                case _ if label.endswith("_"):  # RFC 8428 section 4.4: must be understood
                    raise PayloadError(self._format, f"the field {label[:32]!r} must be understood and is not")

    def _path(self, record: dict[str, Any]) -> Path:
        name = self._base_name + self._string(record.get("n", ""))
        try:
            return parse_path(name)
        except PathError as error:
            raise PayloadError(self._format, error.message) from error

    def _value(self, record: dict[str, Any]) -> Value | None:
        found = [label for label in record if label in _VALUE_LABELS]
        if len(found) > 1:
            raise PayloadError(self._format, "a record with several values")
        if not found:
            return None
        item = record[found[0]]
        match found[0]:
            case "v":
                number = self._number(item)
                return number + self._base_value if self._base_value else number
            case "vs":
                return self._string(item)
            case "vb":
                if isinstance(item, bool):
                    return item
            case "vd":
                return self._data(item)
            case "vlo":
                return self._link(item)
        raise PayloadError(self._format, f"a value of the wrong type for {found[0]!r}")

    def _number(self, item: Any) -> int | float:
        if isinstance(item, Decimal):
            return float(item)
        if isinstance(item, float):
            return item
        if isinstance(item, int) and not isinstance(item, bool) and -(2**63) <= item < 2**64:
            return item
        raise PayloadError(self._format, "a number field holds no number of at most 64 bits")

    def _string(self, item: Any) -> str:
        if isinstance(item, str):
            return item
        raise PayloadError(self._format, "a text field holds no text")

    def _data(self, item: Any) -> bytes:
        if isinstance(item, bytes):
            return item
        text = self._string(item)
        if _BASE64URL.fullmatch(text) is None or len(text.rstrip("=")) % 4 == 1:
            raise PayloadError(self._format, "a data field holds no base64url")
        return urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))

    def _link(self, item: Any) -> ObjectLink:
        try:
            return OBJECT_LINK.from_text(self._string(item))
        except ValueError as error:
            raise PayloadError(self._format, f"{error}") from error


def _list(content_format: int, pack: Any) -> list[Any]:
    if isinstance(pack, list):
        return pack
    raise PayloadError(content_format, "a SenML pack is an array of records")


def _record(content_format: int, item: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(item, dict):
        return item.items()
    raise PayloadError(content_format, "a SenML record is a map")


def _cbor_label(key: Any) -> str:
    """The label that a key of a CBOR map stands for; LwM2M's own (``vlo``) are text."""
    label = _CBOR_LABELS.get(key) if isinstance(key, int) else key
    return label if isinstance(label, str) else ""  # an unknown number is ignored (RFC 8428 section 6)


def _brief(error: BaseException) -> str:
    return str(error)[:120] or type(error).__name__


def _refuse_tag(_decoder: object, *_arguments: object) -> object:
    raise ValueError("a CBOR tag that has no place in SenML")


# All others that the decoder would turn into objects: dates, shared references, expressions, addresses ...
_REFUSED_TAGS = dict.fromkeys(
    (0, 1, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000), _refuse_tag
)
