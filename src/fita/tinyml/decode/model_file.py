"""What a .tflite file says, before anything of it is believed.

Plain records in the file's own words and numbering. The module `flatbuffer` turns files into them and back; the
Reader checks them and makes the typed graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OPTIONAL_TENSOR = -1
"""In place of a tensor number: this operand is left out."""

Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensor:
    """One tensor. `dtype` is the schema's name in lower case ("int8"), or "type <n>" for an unknown number.

    `data` is the constant content as it lies in the file, None when there is none. An empty `shape` is a scalar.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    data: memoryview | bytes | None = None
    is_variable: bool = False
    is_sparse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOperator:
    """One operator: `name` as in the schema (CONV_2D; custom ones "CUSTOM <name>"), operands as tensor numbers.

    `options` holds the fields of the builtin options table that FITA reads, by the schema package's names
    (StrideW); enumerations and booleans are integers. It is empty for operators that FITA does not know.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileModel:
    """A file with one subgraph."""

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str = ""
