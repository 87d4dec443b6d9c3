"""Kubernetes quantities: ``128Ki``, ``0.5``, ``250m``, ``1e3`` <-> exact numbers.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from fita.base.errors import ConfigurationError

_SUFFIXES: dict[str, Decimal] = {
    "": Decimal(1),
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_PATTERN = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d{1,2})|([a-zA-Z]{0,2}))")


def parse_quantity(text: str | int | float) -> Decimal:
    """The number that a quantity stands for; `ConfigurationError` when it is none."""
    match = _PATTERN.fullmatch(str(text).strip())
    if match is None or (match[3] or "") not in _SUFFIXES:
        raise ConfigurationError(f"{text!r} is not a Kubernetes quantity", hint="write it like 128Ki, 250m or 2")
    return Decimal(match[1] + (match[2] or "")) * _SUFFIXES[match[3] or ""]


def parse_bytes(text: str | int | float) -> int:
    """A quantity of bytes, rounded up."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))


def parse_millicores(text: str | int | float) -> int:
    """A quantity of CPU in millicores, rounded up."""
    return int((parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING))


def format_bytes(count_bytes: int) -> str:
    """The shortest exact binary form: 131072 -> ``128Ki``."""
    for suffix in ("Gi", "Mi", "Ki"):
        unit = int(_SUFFIXES[suffix])
        if count_bytes and count_bytes % unit == 0:
            return f"{count_bytes // unit}{suffix}"
    return str(count_bytes)
