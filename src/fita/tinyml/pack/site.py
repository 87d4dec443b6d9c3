"""Where records are put together: places of tensors, constants, and the scratch that kernels ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fita.tinyml.pack.constant import ConstantPool
from fita.tinyml.pack.layout import Kernel, Record
from fita.tinyml.tensor import Tensor

ARENA, CONSTANTS = 0, 1
"""Where a record's operand lies."""


@dataclass(slots=True)
class PackSite:
    """One segment on its way into a file. `scratch_at` is where the arena's activations end."""

    offsets: Mapping[Tensor, int]
    scratch_at: int
    pool: ConstantPool = field(default_factory=ConstantPool)
    records: list[Record] = field(default_factory=list)
    scratch_bytes: int = 0

    def emit(self, kernel: Kernel, *operands: int) -> None:
        self.records.append((kernel, 2 + len(operands), *operands))

    def operand(self, tensor: Tensor) -> tuple[int, int]:
        """Space and offset of an operand that may be a constant."""
        if tensor.data is not None:
            return CONSTANTS, self.pool.add(tensor.data)
        return ARENA, self.offsets[tensor]

    def activation(self, tensor: Tensor) -> int:
        """The offset of what is in the arena."""
        return self.offsets[tensor]

    def scratch(self, size_bytes: int) -> int:
        """The offset of scratch that one kernel uses while it runs."""
        self.scratch_bytes = max(self.scratch_bytes, size_bytes)
        return self.scratch_at
