"""Damages models: cut off, bits flipped, wild numbers, spliced parts, and sound files that say impossible things.

The Reader must answer each with a graph or a `ModelError`, soon and in little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fita.tinyml.decode import flatbuffer
from fita.tinyml.decode.model_file import FileModel, FileOperator, FileTensor

_WILD = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4)
_WILD_SIZES = (-1, 0, 1, 2, 3, 5, 255, 65_536, 2**31 - 1, -(2**31))
_WILD_REALS = (0.0, -1.0, 1e-45, 1e-30, 1e-9, 0.5, 1.0, 1e9, 3e38, float("inf"), float("nan"))
_WILD_POINTS = (-(2**63), -129, -128, 0, 127, 128, 2**31, 2**63 - 1)
_TYPES = ("float32", "int32", "uint8", "int64", "bool", "int16", "int8", "int4", "string")

Random = np.random.Generator


def damaged(models: Sequence[bytes], records: Sequence[FileModel], random: Random) -> bytes:
    """One damaged file from these sound ones; `records` are what some of them say."""
    if random.random() < _RECORD_SHARE:
        return flatbuffer.write(damaged_records(_any(records, random), random))
    damage: Callable[[bytes, bytes, Random], bytes] = _any(_DAMAGES, random)
    return damage(_any(models, random), _any(models, random), random)


def _any(choices: Sequence[Any], random: Random) -> Any:
    return choices[int(random.integers(len(choices)))]


def cut_off(data: bytes, _other: bytes, random: Random) -> bytes:
    return data[: int(random.integers(len(data)))]


def bits_flipped(data: bytes, _other: bytes, random: Random) -> bytes:
    content = bytearray(data)
    for place in random.integers(len(content), size=int(random.integers(1, 9))):
        content[place] ^= 1 << int(random.integers(8))
    return bytes(content)


def wild_numbers(data: bytes, _other: bytes, random: Random) -> bytes:
    """Offsets, lengths and sizes, which lie at multiples of four, replaced."""
    content = bytearray(data)
    for place in random.integers(len(content) // 4, size=int(random.integers(1, 5))):
        number = _any(_WILD, random) if random.random() < 0.6 else int(random.integers(len(data)))
        content[4 * place : 4 * place + 4] = number.to_bytes(4, "little")
    return bytes(content)


def spliced(data: bytes, other: bytes, random: Random) -> bytes:
    """A part of one file over a part of another, so that tables land on tables of another kind."""
    length = int(random.integers(1, 129)) * 4
    source, target = (int(random.integers(len(part) // 4)) * 4 for part in (other, data))
    part = other[source : source + length]
    return data[:target] + part + data[target + len(part) :]


def shifted(data: bytes, _other: bytes, random: Random) -> bytes:
    """Some bytes left out, or said twice."""
    place, length = int(random.integers(8, len(data))), int(random.integers(1, 33))
    return data[:place] + (data[place + length :] if random.random() < 0.5 else data[max(place - length, 0) :])


def nonsense(_data: bytes, _other: bytes, random: Random) -> bytes:
    """Random bytes behind a right beginning."""
    return bytes(random.bytes(4)) + flatbuffer.IDENTIFIER + bytes(random.bytes(int(random.integers(512))))


_DAMAGES: tuple[Callable[[bytes, bytes, Random], bytes], ...] = (
    cut_off, bits_flipped, bits_flipped, wild_numbers, wild_numbers, wild_numbers, spliced, shifted, nonsense,
)  # fmt: skip
_RECORD_SHARE = 0.2


def damaged_records(model: FileModel, random: Random) -> FileModel:
    """One to three fields of a sound model changed to what they should not be."""
    for _ in range(int(random.integers(1, 4))):
        model = _any((_damage_tensor, _damage_operator, _damage_graph), random)(model, random)
    return model


def _damage_tensor(model: FileModel, random: Random) -> FileModel:
    place = int(random.integers(len(model.tensors)))
    tensor = _any(_TENSOR_DAMAGES, random)(model.tensors[place], random)
    return replace(model, tensors=(*model.tensors[:place], tensor, *model.tensors[place + 1 :]))


def _damage_operator(model: FileModel, random: Random) -> FileModel:
    place = int(random.integers(len(model.operators)))
    operator = _any(_OPERATOR_DAMAGES, random)(model.operators[place], random)
    return replace(model, operators=(*model.operators[:place], operator, *model.operators[place + 1 :]))


def _damage_graph(model: FileModel, random: Random) -> FileModel:
    number = int(random.integers(-2, len(model.tensors) + 2))
    first, second = random.integers(len(model.operators), size=2)
    operators = list(model.operators)
    operators[first], operators[second] = operators[second], operators[first]
    result: FileModel = _any(
        (
            replace(model, inputs=(*model.inputs, number)),
            replace(model, outputs=(number,)),
            replace(model, inputs=()),
            replace(model, operators=tuple(operators)),
            replace(model, operators=model.operators[:-1]),
        ),
        random,
    )
    return result


def _at_random(values: tuple[Any, ...], wild: Sequence[Any], random: Random) -> tuple[Any, ...]:
    """One element replaced, added or left out."""
    place = int(random.integers(len(values) + 1))
    new = () if random.random() < 0.2 else (_any(wild, random),)
    return (*values[:place], *new, *values[place + 1 :])


_TENSOR_DAMAGES: tuple[Callable[[FileTensor, Random], FileTensor], ...] = (
    lambda tensor, random: replace(tensor, shape=_at_random(tensor.shape, _WILD_SIZES, random)),
    lambda tensor, random: replace(tensor, shape=tensor.shape[::-1]),
    lambda tensor, random: replace(tensor, dtype=_any(_TYPES, random)),
    lambda tensor, random: replace(tensor, scales=_at_random(tensor.scales, _WILD_REALS, random)),
    lambda tensor, random: replace(tensor, zero_points=_at_random(tensor.zero_points, _WILD_POINTS, random)),
    lambda tensor, random: replace(tensor, quantized_dimension=int(random.integers(-2, 6))),
    lambda tensor, random: replace(tensor, data=None if tensor.data else bytes(random.bytes(16))),
    lambda tensor, random: replace(tensor, data=bytes(tensor.data or b"")[: int(random.integers(64))]),
    lambda tensor, _: replace(tensor, is_variable=True),
)


def _damage_option(operator: FileOperator, random: Random) -> FileOperator:
    if not operator.options:
        return replace(operator, inputs=operator.inputs[::-1])
    option = _any(sorted(operator.options), random)
    wild: Sequence[Any] = _WILD_REALS if isinstance(operator.options[option], float) else _WILD_SIZES
    value = _any(_NARROW_OPTIONS.get(option, wild), random)
    return replace(operator, options={**operator.options, option: value})


_NARROW_OPTIONS = {
    "Padding": range(8),
    "FusedActivationFunction": range(8),
    "WeightsFormat": range(8),
    "KeepDims": range(2),
    "KeepNumDims": range(2),
    "Offset": range(2),
}
"""Enumerations and booleans, which have one byte in the file."""
_NAMES = ("CONV_2D", "ADD", "RESHAPE", "GELU", "MEAN")
_OPERATOR_DAMAGES: tuple[Callable[[FileOperator, Random], FileOperator], ...] = (
    _damage_option,
    _damage_option,
    lambda operator, random: replace(operator, inputs=_at_random(operator.inputs, range(-2, 40), random)),
    lambda operator, random: replace(operator, outputs=_at_random(operator.outputs, range(-2, 40), random)),
    lambda operator, random: replace(operator, name=_any(_NAMES, random), options={}),
)
