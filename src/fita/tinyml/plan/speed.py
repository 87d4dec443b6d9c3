"""Measured speeds of one kind of device, as a file that `fita model measure` writes or a person does.

docs/reference/speeds.md describes the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

import msgspec

from fita.base.errors import ConfigurationError
from fita.tinyml.operator import OperatorClass
from fita.tinyml.plan.device import DeviceModel, Tier, speed_table
from fita.tinyml.plan.link import Link

VERSION = 1
Kernels = Literal["viper", "native"]

_Ns = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """What a kind of device needs for its work, and the link that it was measured with, if any."""

    name: str
    kernels: Kernels
    ns_per_unit: Mapping[OperatorClass, float]
    operator_ns: int
    segment_ns: int = 0
    link: Link | None = None

    def on(self, device: DeviceModel) -> DeviceModel:
        """The device with these speeds; edge and cloud keep theirs."""
        if device.tier is not Tier.DEVICE:
            return device
        return replace(
            device,
            ns_per_unit=self.ns_per_unit,
            operator_ns=self.operator_ns,
            segment_ns=self.segment_ns,
        )


class _LinkDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    bandwidth_bytes_per_s: Annotated[float, msgspec.Meta(gt=0, le=1e15)]
    latency_s: Annotated[float, msgspec.Meta(ge=0, le=3600)]
    loss: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    shared: bool = True
    nj_per_byte: _Ns = 0.0
    message_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    order_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    kernels: Kernels
    ns_per_unit: dict[OperatorClass, _Ns]
    operator_ns: _Whole
    segment_ns: _Whole = 0
    name: Annotated[str, msgspec.Meta(max_length=256)] = ""
    link: _LinkDocument | None = None


class _Head(msgspec.Struct, frozen=True):
    version: int
    ns_per_unit: dict[str, msgspec.Raw] = {}


def encode_speeds(speeds: Speeds) -> bytes:
    """The file for some speeds."""
    link = speeds.link
    document = _Document(
        version=VERSION,
        name=speeds.name,
        kernels=speeds.kernels,
        ns_per_unit=dict(speeds.ns_per_unit),
        operator_ns=speeds.operator_ns,
        segment_ns=speeds.segment_ns,
        link=None if link is None else _LinkDocument(**asdict(link)),
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode_speeds(content: bytes, source: str = "speeds") -> Speeds:
    """What a file says. Classes that it leaves out cost what they usually do beside a convolution.

    `ConfigurationError`, with `source` and the place in it, for anything else.
    """
    hint = "write it by `fita model measure --output`, or as docs/reference/speeds.md says"
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.version != VERSION:
            raise ConfigurationError(
                f"{source} has version {head.version}", hint=f"this FITA reads version {VERSION}; measure again"
            )
        _require_classes(head.ns_per_unit, source)
        document = msgspec.json.decode(content, type=_Document)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{source}: {error}", hint=hint) from error
    conv_ns = document.ns_per_unit.get(OperatorClass.CONV, 0.0)
    if not conv_ns:
        raise ConfigurationError(f"{source}: ns_per_unit has no 'conv' above 0", hint=hint)
    link = document.link
    return Speeds(
        name=document.name,
        kernels=document.kernels,
        ns_per_unit={**speed_table(conv_ns), **document.ns_per_unit},
        operator_ns=document.operator_ns,
        segment_ns=document.segment_ns,
        link=None if link is None else Link(**msgspec.structs.asdict(link)),
    )


def _require_classes(costs: Mapping[str, msgspec.Raw], source: str) -> None:
    """`ConfigurationError` with the name of the first entry that is none, which the decoder would not say."""
    names = [name.value for name in OperatorClass]
    for name, cost in costs.items():
        if name not in names:
            raise ConfigurationError(
                f"{source}: ns_per_unit names {name!r}, which is no class", hint=f"classes are {', '.join(names)}"
            )
        try:
            msgspec.json.decode(cost, type=_Ns)
        except msgspec.MsgspecError as error:
            raise ConfigurationError(
                f"{source}: ns_per_unit of {name!r}: {error}", hint="give nanoseconds, 0 to 1e12"
            ) from error
