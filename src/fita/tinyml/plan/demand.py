"""What the share of a stage asks of the device that runs it: work, bytes in and out, RAM and flash.

Shares are cut and measured once for each graph. Ranges of whole operators that read and write whole tensors are
summed up without cutting; the smallest arena, which takes a search, is looked for only where the answer depends
on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from fita.tinyml.graph import Graph
from fita.tinyml.operator import (
    BYTES_PER_CHANNEL,
    Dequantize,
    OperatorBase,
    OperatorClass,
    Quantize,
    Weighted,
    Window,
)
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.segment import PartialSum, Segment
from fita.tinyml.split.box import whole_box
from fita.tinyml.split.cutter import Cutter
from fita.tinyml.split.memory import ArenaBounds, arena_bounds, segment_memory
from fita.tinyml.split.part import Part, Piece
from fita.tinyml.split.rule.table import rule_of
from fita.tinyml.split.stage import Stage, StageKind
from fita.tinyml.tensor import Tensor

_SEGMENT_RAM_BYTES = 1300
_OPERATOR_RAM_BYTES = 128
_EDGE_RAM_BYTES = 112
_SEGMENT_FLASH_BYTES = 256
_OPERATOR_FLASH_BYTES = 128
_FLOAT_TABLE_BYTES = 1024
"""Tables of a packed segment at most; `fita.tinyml.pack.promise` says exactly."""


class _Work(TypedDict):
    units: Mapping[OperatorClass, int]
    operators: int
    weight_bytes: int
    scratch_bytes: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Demand:
    """One share. `graph_input_bytes` are part of `input_bytes`; `result_bytes` are outputs of the whole graph.

    `tensor_bytes` is the sum of all activations, which no arena exceeds; every arena holds `largest_bytes`.
    """

    stage: Stage
    number: int
    before: Stage | None
    cutter: Cutter
    units: Mapping[OperatorClass, int]
    operators: int
    weight_bytes: int
    scratch_bytes: int
    input_bytes: int
    graph_input_bytes: int
    result_bytes: int
    tensor_bytes: int
    largest_bytes: int
    edges: int

    @cached_property
    def part(self) -> Part:
        return self.cutter.parts(self.stage, self.before)[self.number]

    @cached_property
    def arena_bytes(self) -> int:
        """The smallest arena of activations."""
        return segment_memory(segment_of(self.part)).arena_bytes

    @cached_property
    def arena_bounds(self) -> ArenaBounds:
        """What `arena_bytes` lies between; known much sooner."""
        return arena_bounds(segment_of(self.part))

    @property
    def table_bytes(self) -> int:
        """RAM beside arena and weights: what the executor keeps, and scratch of its kernels."""
        tables = self.operators * _OPERATOR_RAM_BYTES + self.edges * _EDGE_RAM_BYTES
        return _SEGMENT_RAM_BYTES + tables + self.scratch_bytes

    @property
    def ram_bytes(self) -> int:
        """Without weights."""
        return self.table_bytes + self.arena_bytes

    @property
    def flash_bytes(self) -> int:
        return _SEGMENT_FLASH_BYTES + self.operators * _OPERATOR_FLASH_BYTES + self.weight_bytes

    def least_ram_bytes(self, device: DeviceModel) -> int:
        """What the device has to have without any activation."""
        return self.table_bytes + (self.weight_bytes if device.weights_in_ram else 0)

    def ram_on(self, device: DeviceModel) -> int:
        return self.least_ram_bytes(device) + self.arena_bytes

    def may_fit(self, device: DeviceModel, *, slack_bytes: int = 0) -> bool:
        """False only where it cannot, without looking for an arena."""
        least = self.least_ram_bytes(device) + self.largest_bytes
        return self.flash_bytes <= device.free_flash_bytes and least <= device.free_ram_bytes - slack_bytes

    def surely_fits(self, device: DeviceModel, *, slack_bytes: int = 0) -> bool:
        """True only where it does, without looking for an arena."""
        most = self.least_ram_bytes(device) + self.tensor_bytes
        return self.flash_bytes <= device.free_flash_bytes and most <= device.free_ram_bytes - slack_bytes

    def fits(self, device: DeviceModel, *, slack_bytes: int = 0) -> bool:
        """Whether an otherwise empty device takes this share and leaves the slack."""
        return all_fit([self], device, slack_bytes=slack_bytes)


def all_fit(demands: Sequence[Demand], device: DeviceModel, *, slack_bytes: int = 0) -> bool:
    """Whether a device takes these shares together and leaves the slack. Looks for small arenas only if it must."""
    free = device.free_ram_bytes - slack_bytes - sum(demand.least_ram_bytes(device) for demand in demands)
    if sum(demand.flash_bytes for demand in demands) > device.free_flash_bytes:
        return False
    if sum(demand.tensor_bytes for demand in demands) <= free:
        return True
    if sum(demand.largest_bytes for demand in demands) > free:
        return False
    if sum(demand.arena_bounds.enough_bytes for demand in demands) <= free:
        return True
    if sum(demand.arena_bounds.least_bytes for demand in demands) > free:
        return False
    return sum(demand.arena_bytes for demand in demands) <= free


def segment_of(part: Part) -> Segment:
    """A part by itself, for measuring."""
    return Segment(
        index=0,
        operators=part.operators,
        inputs=tuple(piece.local for piece in part.inputs),
        outputs=tuple(piece.local for piece in part.outputs),
    )


class DemandTable:
    """The demands of all stages of one graph, each computed when first asked for."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.cutter = Cutter(graph)
        self._known: dict[tuple[Stage, Stage | None], tuple[Demand, ...]] = {}
        self._inputs = set(graph.inputs)
        self._outputs = set(graph.outputs)
        end = len(graph.operators)
        self._last_read = {tensor: places[-1] for tensor, places in graph.consumers.items()}
        self._last_read |= dict.fromkeys(graph.outputs, end)
        self._simple = [_is_simple(each) and each.output in self._last_read for each in graph.operators]

    def demands(self, stage: Stage, before: Stage | None = None) -> tuple[Demand, ...]:
        """One for each share; `before` as for `Cutter.parts`. Copies do not matter."""
        plain = Stage(first=stage.first, last=stage.last, kind=stage.kind, shares=stage.shares)
        summing = before if before is not None and before.kind is StageKind.INPUT_CHANNELS else None
        found = self._known.get((plain, summing))
        if found is None:
            if plain.kind is StageKind.WHOLE and summing is None and self.is_simple(plain.first, plain.last):
                found = (self._summed(plain),)
            else:
                parts = self.cutter.parts(plain, summing)
                found = tuple(self._cut(plain, summing, number, part) for number, part in enumerate(parts))
            self._known[plain, summing] = found
        return found

    def is_simple(self, first: int, last: int) -> bool:
        """Whether operators first..last-1 read and write whole tensors, all of which are needed."""
        return all(self._simple[first:last])

    def _summed(self, stage: Stage) -> Demand:
        """A range whose operators read and write whole tensors."""
        operators = self.graph.operators[stage.first : stage.last]
        computed = {operator.output for operator in operators}
        inputs = {t for operator in operators for t in operator.activation_inputs if t not in computed}
        outputs = [t for t in computed if self._last_read[t] >= stage.last]
        return Demand(
            **_work(operators),
            stage=stage,
            number=0,
            before=None,
            cutter=self.cutter,
            input_bytes=_bytes(inputs),
            graph_input_bytes=_bytes(inputs & self._inputs),
            result_bytes=_bytes(computed & self._outputs),
            tensor_bytes=_bytes(inputs) + _bytes(computed) + 4 * (len(inputs) + len(computed)),
            largest_bytes=max(map(_size_bytes, {*inputs, *computed}), default=0),
            edges=len(inputs) + 2 * len(outputs),
        )

    def _cut(self, stage: Stage, before: Stage | None, number: int, part: Part) -> Demand:
        locals_ = {piece.local for piece in part.inputs} | {operator.output for operator in part.operators}
        fan = len(before.shares) if before else 2
        return Demand(
            **_work(part.operators),
            stage=stage,
            number=number,
            before=before,
            cutter=self.cutter,
            input_bytes=sum(piece.size_bytes for piece in part.inputs),
            graph_input_bytes=_within(part.inputs, self._inputs),
            result_bytes=_within(part.outputs, self._outputs),
            tensor_bytes=_bytes(locals_) + 4 * len(locals_),
            largest_bytes=max(map(_size_bytes, locals_), default=0),
            edges=fan * len(part.inputs) + (1 + len(stage.shares)) * len(part.outputs),
        )


def _work(operators: Iterable[OperatorBase]) -> _Work:
    units: dict[OperatorClass, int] = {}
    weights = scratch = count = 0
    for operator in operators:
        count += 1
        for name, amount in operator.work.items():
            units[name] = units.get(name, 0) + amount
        weights += operator.weight_bytes + 16
        if isinstance(operator, Quantize | Dequantize):
            weights += _FLOAT_TABLE_BYTES
        if isinstance(operator, Weighted | PartialSum):
            scratch = max(scratch, operator.weights.elements // max(1, operator.weights.shape[0]))
            channels = operator.output.shape[-1] if operator.output.shape else 1
            weights += 4 * channels if operator.bias is None else 0
            weights += BYTES_PER_CHANNEL if isinstance(operator, PartialSum) else 0
    return {"units": units, "operators": count, "weight_bytes": weights, "scratch_bytes": scratch}


def _is_simple(operator: OperatorBase) -> bool:
    """Whether all of its output needs all of each operand, and so do the parts of its output together."""
    window = getattr(operator, "window", None)
    if isinstance(window, Window) and _skips_rows(window):
        return False
    needs = rule_of(operator).needs(operator, whole_box(operator.output.shape))
    return all(
        tensor.is_constant or need == whole_box(tensor.shape)
        for tensor, need in zip(operator.inputs, needs, strict=True)
    )


def _skips_rows(window: Window) -> bool:
    """Whether rows between two windows may be read by neither."""
    return window.stride_height > (window.height - 1) * window.dilation_height + 1


def _size_bytes(tensor: Tensor) -> int:
    return tensor.size_bytes


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


def _within(pieces: Iterable[Piece], tensors: set[Tensor]) -> int:
    return sum(piece.size_bytes for piece in pieces if piece.tensor in tensors)
