"""What a share of a stage does and moves, for every first operator of the stage, without cutting any.

A share is followed backwards from the stage's last operator, as `cut_part` does it. One more operator at the front
changes nothing behind it, so weighing all stages that end at one operator costs a look at each operator once.
The figures are those of the parts that the cutter makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fita.tinyml.graph import Graph
from fita.tinyml.operator import (
    BYTES_PER_CHANNEL,
    DepthwiseConv2D,
    Dequantize,
    Mean,
    OperatorBase,
    OperatorClass,
    Quantize,
    Weighted,
)
from fita.tinyml.plan.demand.coverage import Gap, gap_of
from fita.tinyml.segment import Box, PartialSum
from fita.tinyml.split.box import bounding, contains, elements, merged, whole_box
from fita.tinyml.split.cutter import owned_box
from fita.tinyml.split.part import Part
from fita.tinyml.split.rule.base import Rule
from fita.tinyml.split.rule.table import rule_of
from fita.tinyml.split.stage import Share, StageKind
from fita.tinyml.tensor import TYPE_BYTES, Tensor

_OPERATOR_BYTES = 16
_FLOAT_TABLE_BYTES = 1024
"""What a packed segment keeps of an operator beside its constants; `fita.tinyml.pack.promise` says exactly."""


class Cost(msgspec.Struct, frozen=True):
    """What one operator adds to `Work`."""

    units: tuple[tuple[OperatorClass, int], ...]
    weight_bytes: int
    scratch_bytes: int
    output_bytes: int


@dataclass(slots=True)
class Work:
    """Sums over some operators: units by class, bytes of constants, of kernels' scratch, of activations."""

    units: dict[OperatorClass, int] = field(default_factory=dict)
    operators: int = 0
    weight_bytes: int = 0
    scratch_bytes: int = 0
    tensor_bytes: int = 0
    largest_bytes: int = 0

    def copy(self) -> Work:
        return Work(
            dict(self.units),
            self.operators,
            self.weight_bytes,
            self.scratch_bytes,
            self.tensor_bytes,
            self.largest_bytes,
        )

    def add(self, cost: Cost) -> None:
        """One operator more."""
        for name, amount in cost.units:
            self.units[name] = self.units.get(name, 0) + amount
        self.operators += 1
        self.weight_bytes += cost.weight_bytes
        self.scratch_bytes = max(self.scratch_bytes, cost.scratch_bytes)
        self.hold(cost.output_bytes)

    def hold(self, size_bytes: int) -> None:
        """One more activation, with what aligning it may cost."""
        self.tensor_bytes += size_bytes + 4
        self.largest_bytes = max(self.largest_bytes, size_bytes)

    def slice(self, size_bytes: int, count: int) -> None:
        """A copy of so many elements out of a tensor."""
        self.units[OperatorClass.MOVE] = self.units.get(OperatorClass.MOVE, 0) + count
        self.operators += 1
        self.weight_bytes += _OPERATOR_BYTES
        self.hold(size_bytes)


class Facts:
    """What an operator costs by the size of what it computes."""

    def __init__(self, operator: OperatorBase) -> None:
        self.operator = operator
        self.gap = gap_of(operator)
        self.element_bytes = TYPE_BYTES[operator.output.dtype]
        self._by_input = isinstance(operator, Mean)
        total = max(1, operator.inputs[0].elements if self._by_input else operator.output.elements)
        self._units = [(name, amount // total) for name, amount in operator.work.items()]
        self._constants = [(p, TYPE_BYTES[t.dtype]) for p, t in enumerate(operator.inputs) if t.is_constant]
        self._fixed_bytes = _OPERATOR_BYTES + (
            _FLOAT_TABLE_BYTES if isinstance(operator, Quantize | Dequantize) else 0
        )
        self._channel_bytes = self._scratch_bytes = self._channel_scratch = 0
        if isinstance(operator, Weighted):
            self._channel_bytes = operator.weight_bytes // operator.output_channels + (
                4 if operator.bias is None else 0
            )
            depth = operator.weights.elements // operator.output_channels
            if isinstance(operator, DepthwiseConv2D):
                self._channel_scratch = depth
            else:
                self._scratch_bytes = depth
        elif not self._constants:
            self._fixed_bytes += operator.weight_bytes
        if isinstance(operator, PartialSum):
            channels = operator.output.shape[-1] if operator.output.shape else 1
            self._scratch_bytes = operator.weights.elements // max(1, operator.weights.shape[0])
            self._fixed_bytes += BYTES_PER_CHANNEL + (4 * channels if operator.bias is None else 0)

    def over(self, region: Box, needs: Sequence[Box | None]) -> Cost:
        """The operator over a region of its output, which reads so much of each input."""
        count = elements(region)
        worked = elements(needs[0]) if self._by_input and needs[0] else count
        weights, scratch = self._fixed_bytes, self._scratch_bytes
        if self._channel_bytes:
            channels = region.stops[-1] - region.starts[-1]
            weights += channels * self._channel_bytes
            scratch = max(scratch, channels * self._channel_scratch)
        for position, unit in self._constants:
            need = needs[position]
            weights += elements(need) * unit if need else 0
        units = tuple((name, worked * amount) for name, amount in self._units)
        return Cost(units, weights, scratch, count * self.element_bytes)


Boxes = tuple[tuple[Tensor, Box], ...]
"""Parts of a graph's tensors."""


class Measure(msgspec.Struct, frozen=True):
    """One share: its work, what comes in, what it has to give, and what shares of it may leave out."""

    work: Work
    inputs: Boxes
    outputs: Boxes
    input_bytes: int
    gap: Gap


class _Reader(msgspec.Struct, frozen=True):
    """Who needs a box of a tensor, and for which region of its own output."""

    place: int
    region: Box
    need: Box
    size_bytes: int
    gap: Gap


class _Step(msgspec.Struct, frozen=True):
    """An operator that has to compute a box: the region that it does compute, and what it reads."""

    region: Box
    cost: Cost
    reads: tuple[tuple[Tensor, _Reader], ...]


class GraphFacts:
    """What sweeps over one graph share. The same boxes come again and again."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.operators: list[tuple[Facts, Rule[Any]]] = [(Facts(each), rule_of(each)) for each in graph.operators]
        self.last_read = {tensor: places[-1] for tensor, places in graph.consumers.items()}
        self.last_read |= dict.fromkeys(graph.outputs, len(graph.operators))
        self._steps: dict[tuple[int, Box], _Step] = {}

    def step(self, place: int, box: Box) -> _Step:
        """The operator at a place, for a box of its output."""
        found = self._steps.get((place, box))
        if found is None:
            facts, rule = self.operators[place]
            region = rule.expand(facts.operator, box)
            needs = rule.needs(facts.operator, region)
            reads = tuple(
                (source, _Reader(place, region, need, elements(need) * TYPE_BYTES[source.dtype], facts.gap))
                for source, need in zip(facts.operator.inputs, needs, strict=True)
                if need is not None and not source.is_constant
            )
            found = self._steps[place, box] = _Step(region, facts.over(region, needs), reads)
        return found


class Sweep:
    """One share of all stages that end before operator `last`."""

    def __init__(self, facts: GraphFacts, last: int, kind: StageKind, share: Share, length: int) -> None:
        self._facts, self._last, self._kind, self._share, self._length = facts, last, kind, share, length
        self._work = Work()
        self._readers: dict[Tensor, list[_Reader]] = {}
        self._outputs: list[tuple[Tensor, Box]] = []
        self._gap = Gap.NONE
        self._found: list[Measure] = []

    def measure(self, first: int) -> Measure:
        """For the stage of operators first..last-1."""
        while len(self._found) < self._last - first:
            self._step(self._last - 1 - len(self._found))
            self._found.append(self._measured())
        return self._found[self._last - 1 - first]

    def _step(self, place: int) -> None:
        """One operator more at the front."""
        tensor = self._facts.graph.operators[place].output
        readers = self._readers.pop(tensor, [])
        boxes = [reader.need for reader in readers]
        if self._facts.last_read.get(tensor, -1) >= self._last:
            owned = owned_box(tensor, self._kind, self._share, self._length)
            if owned is not None:
                boxes.append(owned)
                self._outputs.append((tensor, owned))
        if not boxes:
            return
        around = bounding(boxes) if len(boxes) > 1 else boxes[0]
        if around not in boxes[len(readers) :]:
            self._gap = max(self._gap, _gap(readers, around))
        step = self._facts.step(place, around)
        self._work.add(step.cost)
        self._slice(self._work, tensor, [step.region], readers)
        for source, reader in step.reads:
            self._readers.setdefault(source, []).append(reader)

    def _slice(self, work: Work, tensor: Tensor, pieces: list[Box], readers: Sequence[_Reader]) -> None:
        """What readers have to copy out of the pieces that lie there, as `cut_part` does it."""
        for reader in sorted(readers, key=lambda reader: reader.place) if len(readers) > 1 else readers:
            held = pieces[0]
            if len(pieces) > 1:
                held = min((p for p in pieces if contains(p, reader.need)), key=elements)
            if held == reader.need:
                continue
            facts, rule = self._facts.operators[reader.place]
            if not rule.accepts(facts.operator, reader.region, reader.need, held):
                work.slice(reader.size_bytes, reader.size_bytes // TYPE_BYTES[tensor.dtype])
                pieces.append(reader.need)

    def _measured(self) -> Measure:
        work = self._work.copy()
        inputs: list[tuple[Tensor, Box]] = []
        total, gap = 0, self._gap
        for tensor, readers in self._readers.items():
            if len(readers) == 1:
                inputs.append((tensor, readers[0].need))
                work.hold(readers[0].size_bytes)
                total += readers[0].size_bytes
                gap = max(gap, readers[0].gap)
                continue
            pieces = list(merged(reader.need for reader in readers))
            for piece in pieces:
                inputs.append((tensor, piece))
                size_bytes = elements(piece) * TYPE_BYTES[tensor.dtype]
                work.hold(size_bytes)
                total += size_bytes
            gap = max(gap, _gap(readers, bounding(pieces)))
            self._slice(work, tensor, pieces, readers)
        return Measure(work, tuple(inputs), tuple(self._outputs), total, gap)


def _gap(readers: Sequence[_Reader], around: Box) -> Gap:
    """The least of those that want all of the box around."""
    return min((reader.gap for reader in readers if reader.need == around), default=Gap.ANY)


def measure_part(part: Part) -> Measure:
    """The same for a part that has been cut."""
    work = Work()
    for operator in part.operators:
        needs = tuple(whole_box(tensor.shape) for tensor in operator.inputs)
        work.add(Facts(operator).over(whole_box(operator.output.shape), needs))
    for piece in part.inputs:
        work.hold(piece.local.size_bytes)
    return Measure(
        work,
        tuple((piece.tensor, piece.box) for piece in part.inputs),
        tuple((piece.tensor, piece.box) for piece in part.outputs),
        sum(piece.size_bytes for piece in part.inputs),
        Gap.ANY,
    )


def size_bytes(boxes: Iterable[tuple[Tensor, Box]]) -> int:
    return sum(elements(box) * TYPE_BYTES[tensor.dtype] for tensor, box in boxes)
