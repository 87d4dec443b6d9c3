"""A service folder: ``service.toml``, which declares the service, and ``main.py``, which is the service.

======================  =======================================================================================
in ``service.toml``     meaning
======================  =======================================================================================
``name``                lower-case letters, digits and hyphens, at most 63
``version``             a whole number from 0 on
``memory``              the heap that it may use, a quantity like ``"8Ki"`` (default: what the device gives)
``sensors``             capabilities that the device must have, like ``["temperature_sensor"]``
``platforms``           with native code: what to compile for, like ``["micropython/armv7em/v6"]``
``api``                 version of the service API (default: the newest)
``data_model``          like ``["lwm2m:urn:oma:lwm2m:ext:3303"]``
``[[inputs]]``,         ``key``, ``type`` (``"integer"`` or ``"float"``), optionally ``data_model_mapping``
``[[outputs]]``         (``"lwm2m:3303/x/5700"``) and ``unit`` (``"Cel"``)
======================  =======================================================================================

Every other key is an error, because it is most often a misspelt one. Errors name the file and the line.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fita.base.errors import ConfigurationError
from fita.model.platform import ARCHITECTURE_ANY, OS_MICROPYTHON, Platform, parse_platform
from fita.model.quantity import format_bytes, parse_bytes
from fita.model.service import SERVICE_API_VERSION, Dependencies, Port, ServiceManifest, ValueType
from fita.oci.errors import ServiceBuildError
from fita.oci.mpy import BYTECODE_VARIANT, NATIVE_ARCHITECTURES

SERVICE_FILE_NAME = "service.toml"
CODE_FILE_NAME = "main.py"
PORTABLE_PLATFORM = Platform(OS_MICROPYTHON, ARCHITECTURE_ANY, BYTECODE_VARIANT)
"""Every device of our runtime."""

MAX_SOURCE_BYTES = 1024 * 1024
# The header of a device's package holds ports, names and the environment in 2048 bytes (docs/device-protocol.md).
_MAX_PORT_BYTES = 1280
# More heap than any microcontroller has.
_MAX_MEMORY_BYTES = 1024**3
_TYPES = {"integer": ValueType.INTEGER, "float": ValueType.FLOAT}
_MAPPING = r"^(lwm2m:[0-9]{1,5}/(x|[0-9]{1,5})/[0-9]{1,5})?$"
_PLACE = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


class PortTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[inputs]]`` or ``[[outputs]]``."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,31}$")]
    type: Literal["integer", "float"]
    data_model_mapping: Annotated[str, msgspec.Meta(pattern=_MAPPING)] = ""
    unit: Annotated[str, msgspec.Meta(max_length=16)] = ""


class ServiceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of ``service.toml``."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    memory: str | int = 0
    sensors: tuple[Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")], ...] = ()
    platforms: tuple[str, ...] = ()
    api: Annotated[int, msgspec.Meta(ge=1)] = SERVICE_API_VERSION
    data_model: tuple[str, ...] = ()
    inputs: tuple[PortTable, ...] = ()
    outputs: tuple[PortTable, ...] = ()


class ServiceSource(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that has been read: what it declares and its code as text."""

    folder: Path
    manifest: ServiceManifest
    platforms: tuple[Platform, ...]
    code: str

    @property
    def code_path(self) -> Path:
        return self.folder / CODE_FILE_NAME


def read_source(folder: Path) -> ServiceSource:
    """The service in `folder`. Raises `ServiceBuildError` with the file and, where it is known, the line."""
    path = folder / SERVICE_FILE_NAME
    text = _read_text(path, hint=f"a service folder has a {SERVICE_FILE_NAME} and a {CODE_FILE_NAME}")
    table = _decode(path, text)
    manifest = _manifest(path, text, table)
    line = _line_of(text, ".platforms")
    platforms = tuple(parse_service_platform(path, name, line=line) for name in table.platforms)
    code = _read_text(folder / CODE_FILE_NAME, hint=f"write setup(service) or loop(service) into {CODE_FILE_NAME}")
    return ServiceSource(folder=folder, manifest=manifest, platforms=platforms, code=code)


def parse_service_platform(path: Path, text: str, *, line: int = 0) -> Platform:
    """`text` as a platform that services can be compiled for; `path` and `line` are where it was found."""
    known = (ARCHITECTURE_ANY, *NATIVE_ARCHITECTURES)
    try:
        platform = parse_platform(text)
    except ConfigurationError as error:
        raise ServiceBuildError(path, error.message, line=line, hint=error.hint) from error
    if platform.os == OS_MICROPYTHON and platform.architecture in known and platform.variant == BYTECODE_VARIANT:
        return platform
    raise ServiceBuildError(
        path,
        f"services cannot be compiled for {text}",
        line=line,
        hint=f"write {OS_MICROPYTHON}/ARCHITECTURE/{BYTECODE_VARIANT} with one of {', '.join(known)}",
    )


def _read_text(path: Path, *, hint: str) -> str:
    try:
        if not path.is_file():
            raise ServiceBuildError(path, "there is no such file", hint=hint)
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise ServiceBuildError(path, f"cannot be read: {error.strerror}", hint="check its owner") from error
    if len(data) > MAX_SOURCE_BYTES:
        raise ServiceBuildError(path, f"is larger than {MAX_SOURCE_BYTES} bytes", hint="no device could hold it")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ServiceBuildError(path, "is not UTF-8 text", line=line, hint="save it as UTF-8") from error


def _decode(path: Path, text: str) -> ServiceTable:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise ServiceBuildError(path, f"is not TOML: {error}", line=line, hint="see https://toml.io") from error
    try:
        return msgspec.convert(tables, ServiceTable)
    except msgspec.ValidationError as error:
        raise _wrong_value(path, text, str(error)) from error


def _wrong_value(path: Path, text: str, said: str) -> ServiceBuildError:
    """msgspec's ``Expected `int`, got `str` - at `$.outputs[0].type``` with the line and a hint."""
    match = _PLACE.fullmatch(said)
    problem, place = (match[1], match[2] or "") if match else (said, "")
    if unknown := _UNKNOWN.fullmatch(problem):
        known = (PortTable if place else ServiceTable).__struct_fields__
        near = difflib.get_close_matches(unknown[1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return ServiceBuildError(
            path, f"{unknown[1]!r} is not known here", line=_line_of(text, f"{place}.{unknown[1]}"), hint=hint
        )
    where = f"{place.lstrip('.')}: " if place else ""
    return ServiceBuildError(
        path, f"{where}{problem}", line=_line_of(text, place), hint=_HINTS.get(_last_key(place), _DEFAULT_HINT)
    )


_HINTS = {
    "name": "use at most 63 lower-case letters, digits and hyphens",
    "version": "write a whole number, like version = 1",
    "type": 'write "integer" or "float"',
    "key": "use at most 32 letters, digits and underscores, not beginning with a digit",
    "data_model_mapping": 'write object, x and resource, like "lwm2m:3303/x/5700"',
    "sensors": 'write a list of capabilities, like ["temperature_sensor"]',
    "memory": 'write a quantity, like "8Ki"',
    "inputs": 'write [[inputs]] and below it key = "..." and type = "float"',
    "outputs": 'write [[outputs]] and below it key = "..." and type = "float"',
}
_DEFAULT_HINT = "every service has at least name and version, every input and output key and type"


def _last_key(place: str) -> str:
    return re.sub(r"\[[0-9.]*\]", "", place).rpartition(".")[2]


def _line_of(text: str, place: str) -> int:
    """The line of the key at `place` (``.outputs[1].type``); that of its table when the key is missing; else 0."""
    lines = text.splitlines()
    first, start = 0, 0
    table = re.match(r"\.(inputs|outputs)\[(\d+)\]", place)
    if table is not None:
        headers = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{table[1]}\s*\]\]", line)]
        if int(table[2]) >= len(headers):
            return 0
        start = headers[int(table[2])]
        first = start + 1
    key = re.escape(_last_key(place))
    for number, line in enumerate(lines[start:], start):
        if number >= first and re.match(rf"\s*(\[\[?\s*)?[\"']?{key}[\"']?\s*[=\]]", line):
            return number + 1
    return first


def _manifest(path: Path, text: str, table: ServiceTable) -> ServiceManifest:
    if table.api > SERVICE_API_VERSION:
        raise ServiceBuildError(
            path,
            f"api: the newest service API is {SERVICE_API_VERSION}, not {table.api}",
            line=_line_of(text, ".api"),
            hint="it needs a newer FITA",
        )
    ports = {kind: _ports(path, text, kind, tables) for kind, tables in _port_tables(table).items()}
    encoded = msgspec.json.encode(list(ports.values()))
    if len(encoded) > _MAX_PORT_BYTES:
        raise ServiceBuildError(
            path,
            f"its inputs and outputs take {len(encoded)} bytes, a device's package has room for {_MAX_PORT_BYTES}",
            hint="use fewer of them, or shorter keys",
        )
    return ServiceManifest(
        name=table.name,
        version=table.version,
        data_model=table.data_model,
        dependencies=Dependencies(table.api),
        inputs=ports["inputs"],
        outputs=ports["outputs"],
        sensors=table.sensors,
        memory_bytes=_memory(path, text, table.memory),
    )


def _port_tables(table: ServiceTable) -> dict[str, tuple[PortTable, ...]]:
    return {"inputs": table.inputs, "outputs": table.outputs}


def _ports(path: Path, text: str, kind: str, tables: tuple[PortTable, ...]) -> tuple[Port, ...]:
    seen: set[str] = set()
    for number, table in enumerate(tables):
        if table.key in seen:
            line = _line_of(text, f".{kind}[{number}].key")
            raise ServiceBuildError(
                path, f"{kind}: the key {table.key!r} is there twice", line=line, hint="give each its own key"
            )
        seen.add(table.key)
    return tuple(
        Port(
            key=table.key,
            type=_TYPES[table.type],
            data_model_mapping=table.data_model_mapping,
            unit=table.unit,
        )
        for table in tables
    )


def _memory(path: Path, text: str, memory: str | int) -> int:
    try:
        count_bytes = parse_bytes(memory)
    except ConfigurationError as error:
        raise ServiceBuildError(
            path, f"memory: {error.message}", line=_line_of(text, ".memory"), hint=error.hint
        ) from error
    if 0 <= count_bytes <= _MAX_MEMORY_BYTES:
        return count_bytes
    problem = f"memory: {memory!r} is not between 0 and {format_bytes(_MAX_MEMORY_BYTES)}"
    raise ServiceBuildError(path, problem, line=_line_of(text, ".memory"), hint=_HINTS["memory"])
