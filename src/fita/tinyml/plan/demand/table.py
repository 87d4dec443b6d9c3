"""What the share of a stage asks of the device that runs it: work, bytes in and out, RAM and flash.

Shares are swept rather than cut, and measured once for each graph. The smallest arena, which takes a search, is
looked for only where the answer depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
from msgspec.structs import replace

from fita.tinyml.graph import Graph
from fita.tinyml.operator import OperatorClass
from fita.tinyml.plan.demand.coverage import Gap
from fita.tinyml.plan.demand.sweep import Boxes, GraphFacts, Measure, Sweep, measure_part, size_bytes
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.segment import Segment
from fita.tinyml.split.cutter import Cutter
from fita.tinyml.split.memory import enough_arena_bytes, least_arena_bytes, segment_memory
from fita.tinyml.split.part import Part
from fita.tinyml.split.stage import Share, Stage, StageKind, share_length

_SEGMENT_RAM_BYTES = 1300
_OPERATOR_RAM_BYTES = 128
_EDGE_RAM_BYTES = 112
_SEGMENT_FLASH_BYTES = 256
_OPERATOR_FLASH_BYTES = 128
"""Tables of a packed segment at most; `fita.tinyml.pack.promise` says exactly."""


class Demand(msgspec.Struct, frozen=True, eq=False, kw_only=True, dict=True):
    """One share. `graph_input_bytes` are part of `input_bytes`; `result_bytes` are outputs of the whole graph.

    `gap` is what shares of it may leave out.

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
    inputs: Boxes
    outputs: Boxes
    gap: Gap

    @cached_property
    def part(self) -> Part:
        return self.cutter.parts(self.stage, self.before)[self.number]

    @cached_property
    def arena_bytes(self) -> int:
        """The smallest arena of activations."""
        return segment_memory(segment_of(self.part)).arena_bytes

    @cached_property
    def least_arena_bytes(self) -> int:
        """What `arena_bytes` cannot go below; known much sooner."""
        return least_arena_bytes(segment_of(self.part))

    @cached_property
    def enough_arena_bytes(self) -> int:
        """What `arena_bytes` does not exceed; known sooner."""
        return enough_arena_bytes(segment_of(self.part))

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
    """Whether a device takes these shares together and leaves the slack. Arenas are searched for if need be."""
    free = device.free_ram_bytes - slack_bytes - sum(demand.least_ram_bytes(device) for demand in demands)
    if sum(demand.flash_bytes for demand in demands) > device.free_flash_bytes:
        return False
    if sum(demand.tensor_bytes for demand in demands) <= free:
        return True
    if sum(demand.largest_bytes for demand in demands) > free:
        return False
    if sum(demand.least_arena_bytes for demand in demands) > free:
        return False
    if sum(demand.enough_arena_bytes for demand in demands) <= free:
        return True
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
        self._facts = GraphFacts(graph)
        self._inputs, self._outputs = set(graph.inputs), set(graph.outputs)
        self._known: dict[tuple[int, int, StageKind, tuple[Share, ...], Stage | None], tuple[Demand, ...]] = {}
        self._sweeps: dict[tuple[int, StageKind, Share], Sweep] = {}

    def demands(self, stage: Stage, before: Stage | None = None) -> tuple[Demand, ...]:
        """One for each share; `before` as for `Cutter.parts`. Copies do not matter."""
        summing = before if before is not None and before.kind is StageKind.INPUT_CHANNELS else None
        key = (stage.first, stage.last, stage.kind, stage.shares, summing)
        found = self._known.get(key)
        if found is None:
            plain = stage if stage.copies == 1 else replace(stage, copies=1)
            measures: Iterator[Measure]
            if summing is not None or plain.kind is StageKind.INPUT_CHANNELS:
                measures = map(measure_part, self.cutter.parts(plain, summing))
            else:
                measures = self._swept(plain)
            found = tuple(self._demand(plain, summing, number, each) for number, each in enumerate(measures))
            self._known[key] = found
        return found

    def demands_of(self, stages: Sequence[Stage]) -> list[Demand]:
        """Those of a chain of stages, one for each segment of it."""
        befores = [None, *stages[:-1]]
        return [demand for each in map(self.demands, stages, befores) for demand in each]

    def _swept(self, stage: Stage) -> Iterator[Measure]:
        length = share_length(self.graph, stage) if stage.last else 1
        for share in stage.shares:
            key = (stage.last, stage.kind, share)
            sweep = self._sweeps.get(key)
            if sweep is None:
                sweep = self._sweeps[key] = Sweep(self._facts, stage.last, stage.kind, share, length)
            yield sweep.measure(stage.first)

    def _demand(self, stage: Stage, before: Stage | None, number: int, measure: Measure) -> Demand:
        # Whole stages mostly follow whole stages.
        fan = len(before.shares) if before else min(2, len(stage.shares))
        work = measure.work
        return Demand(
            stage=stage,
            number=number,
            before=before,
            cutter=self.cutter,
            units=work.units,
            operators=work.operators,
            weight_bytes=work.weight_bytes,
            scratch_bytes=work.scratch_bytes,
            input_bytes=measure.input_bytes,
            graph_input_bytes=size_bytes([each for each in measure.inputs if each[0] in self._inputs]),
            result_bytes=size_bytes([each for each in measure.outputs if each[0] in self._outputs]),
            tensor_bytes=work.tensor_bytes,
            largest_bytes=work.largest_bytes,
            edges=fan * len(measure.inputs) + (1 + len(stage.shares)) * len(measure.outputs),
            inputs=measure.inputs,
            outputs=measure.outputs,
            gap=measure.gap,
        )
