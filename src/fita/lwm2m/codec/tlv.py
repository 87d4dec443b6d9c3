"""OMA TLV (11542), the format every LwM2M 1.0 client speaks (LwM2M Core 1.1 section 7.4.3).

TLV carries no types: values are read by the declared type of their path, and as bytes where nobody declared one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from fita.lwm2m.codec.format import ContentFormat
from fita.lwm2m.errors import PayloadError
from fita.lwm2m.objects.registry import data_type_of
from fita.lwm2m.path import MAX_ID, Path
from fita.lwm2m.value import Value, natural_type


class Kind(IntEnum):
    """Bits 7 and 6 of the type byte."""

    OBJECT_INSTANCE = 0
    RESOURCE_INSTANCE = 1
    MULTIPLE_RESOURCE = 2
    RESOURCE = 3


class Entry(NamedTuple):
    """One TLV. The value of an object instance or a multiple resource is a series of TLVs."""

    kind: Kind
    id: int
    value: bytes


def read_entries(payload: bytes) -> Iterator[Entry]:
    """The TLVs in `payload`, not what is inside them. Raises `PayloadError`."""
    position, end = 0, len(payload)
    while position < end:
        head = payload[position]
        id_end = position + (3 if head & 0x20 else 2)
        length_size = head >> 3 & 3
        start = id_end + length_size
        if start > end:
            raise PayloadError(ContentFormat.TLV, "a TLV's head is cut off")
        number = int.from_bytes(payload[position + 1 : id_end], "big")
        length = int.from_bytes(payload[id_end:start], "big") if length_size else head & 7
        if number > MAX_ID:
            raise PayloadError(ContentFormat.TLV, f"an id above {MAX_ID}")
        if start + length > end:
            raise PayloadError(ContentFormat.TLV, f"a TLV of {length} bytes where {end - start} are left")
        yield Entry(Kind(head >> 6), number, payload[start : start + length])
        position = start + length


def decode_tlv(payload: bytes, path: Path) -> dict[Path, Value]:
    """The values of what was read at `path`. Raises `PayloadError`.

    Clients wrap more or less around what was asked for: an instance may come as its resources or as an object
    instance that holds them, a resource as itself or as its instances.
    """
    values: dict[Path, Value] = {}
    for entry in read_entries(payload):
        match entry.kind:
            case Kind.OBJECT_INSTANCE:
                for inner in read_entries(entry.value):
                    _take_resource(values, Path(path.object_id, entry.id), inner)
            case Kind.RESOURCE_INSTANCE:
                if path.resource_id is None:
                    raise PayloadError(ContentFormat.TLV, "a resource instance outside of a resource")
                _take_value(values, path._replace(resource_instance_id=entry.id), entry.value)
            case _:
                # An object with the single instance 0 may be sent without naming it.
                _take_resource(values, Path(path.object_id, path.instance_id or 0), entry)
    return values


def _take_resource(values: dict[Path, Value], instance: Path, entry: Entry) -> None:
    path = instance._replace(resource_id=entry.id)
    match entry.kind:
        case Kind.RESOURCE:
            _take_value(values, path, entry.value)
        case Kind.MULTIPLE_RESOURCE:
            for inner in read_entries(entry.value):
                if inner.kind is not Kind.RESOURCE_INSTANCE:
                    raise PayloadError(ContentFormat.TLV, f"{path} holds something that is no resource instance")
                _take_value(values, path._replace(resource_instance_id=inner.id), inner.value)
        case _:
            raise PayloadError(ContentFormat.TLV, f"{instance} holds something that is no resource")


def _take_value(values: dict[Path, Value], path: Path, data: bytes) -> None:
    data_type = data_type_of(path)
    try:
        value: Value = data if data_type is None else data_type.from_bytes(data)
    except ValueError as error:
        raise PayloadError(ContentFormat.TLV, f"{path}: {error}") from error
    values[path] = value


def write_entry(kind: Kind, number: int, value: bytes) -> bytes:
    """One TLV in its shortest form."""
    size = len(value)
    length_size = 0 if size < 8 else (size.bit_length() + 7) // 8
    if length_size > 3:
        raise PayloadError(ContentFormat.TLV, f"a value of {size} bytes, at most 16777215 fit")
    head = kind << 6 | (0x20 if number > 0xFF else 0) | length_size << 3 | (0 if length_size else size)
    id_bytes = number.to_bytes(2 if number > 0xFF else 1, "big")
    return bytes((head,)) + id_bytes + (size.to_bytes(length_size, "big") if length_size else b"") + value


def encode_tlv(values: Mapping[Path, Value]) -> bytes:
    """Resources of one instance (single and multiple) as TLVs, in the order of `values`."""
    return b"".join(_resource(path, group) for path, group in _by_resource(values))


def _by_resource(values: Mapping[Path, Value]) -> Iterable[tuple[Path, list[tuple[Path, Value]]]]:
    grouped: dict[Path, list[tuple[Path, Value]]] = {}
    for path, value in values.items():
        grouped.setdefault(path._replace(resource_instance_id=None), []).append((path, value))
    return grouped.items()


def _resource(path: Path, group: list[tuple[Path, Value]]) -> bytes:
    number = path.resource_id
    if number is None:
        raise PayloadError(ContentFormat.TLV, f"{path} is no resource")
    first, value = group[0]
    if first.resource_instance_id is None:
        return write_entry(Kind.RESOURCE, number, _bytes(first, value))
    parts = [
        write_entry(Kind.RESOURCE_INSTANCE, item.resource_instance_id or 0, _bytes(item, inner))
        for item, inner in group
    ]
    return write_entry(Kind.MULTIPLE_RESOURCE, number, b"".join(parts))


def _bytes(path: Path, value: Value) -> bytes:
    data_type = data_type_of(path) or natural_type(value)
    try:
        return data_type.to_bytes(value)
    except ValueError as error:
        raise PayloadError(ContentFormat.TLV, f"{path}: {error}") from error
