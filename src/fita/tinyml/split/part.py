"""One segment's operators: those of a run of operators that its boxes need, each cut to what it must compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fita.tinyml.operator import OperatorBase, StridedSlice
from fita.tinyml.segment import Box, SegmentOperator
from fita.tinyml.split.box import bounding, contains, elements, merged, within
from fita.tinyml.split.rule.base import Site, constant_part, local_tensor
from fita.tinyml.split.rule.table import rule_of
from fita.tinyml.tensor import TYPE_BYTES, Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Piece:
    """Where a box of a graph's tensor lies in a segment: in `local`, which holds the `region` around it."""

    tensor: Tensor
    box: Box
    local: Tensor
    region: Box

    @property
    def size_bytes(self) -> int:
        return elements(self.box) * TYPE_BYTES[self.tensor.dtype]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """The operators of a segment, what it must be given and what it gives."""

    operators: tuple[SegmentOperator, ...]
    inputs: tuple[Piece, ...]
    outputs: tuple[Piece, ...]


def cut_part(steps: Sequence[OperatorBase], owned: Mapping[Tensor, Box]) -> Part:
    """What of the steps computes the owned boxes, all of tensors that the steps compute.

    Steps that contribute nothing are left out. Inputs are the fewest bytes that do.
    """
    regions, demands = _backward(steps, owned)
    computed = {step.output for step in steps}
    inputs = tuple(
        Piece(tensor=tensor, box=box, local=local_tensor(tensor, box), region=box)
        for tensor, boxes in demands.items()
        if tensor not in computed
        for box in merged(boxes)
    )
    assembly = _Assembly(pieces={})
    for piece in inputs:
        assembly.add(piece)
    for step in steps:
        if step.output in regions:
            assembly.append(step, regions[step.output])
    outputs = tuple(assembly.output(tensor, box) for tensor, box in owned.items())
    return Part(operators=tuple(assembly.operators), inputs=inputs, outputs=outputs)


def _backward(
    steps: Sequence[OperatorBase], owned: Mapping[Tensor, Box]
) -> tuple[dict[Tensor, Box], dict[Tensor, list[Box]]]:
    """For every step that is needed the box that it computes, and all boxes read of every tensor."""
    demands: dict[Tensor, list[Box]] = {tensor: [box] for tensor, box in owned.items()}
    regions: dict[Tensor, Box] = {}
    for step in reversed(steps):
        if step.output not in demands:
            continue
        rule = rule_of(step)
        region = rule.expand(step, bounding(demands[step.output]))
        regions[step.output] = region
        for tensor, need in zip(step.inputs, rule.needs(step, region), strict=True):
            if need is not None and not tensor.is_constant:
                demands.setdefault(tensor, []).append(need)
    return regions, demands


@dataclass(slots=True)
class _Assembly:
    """The operators so far and where each tensor's boxes lie."""

    pieces: dict[Tensor, list[Piece]]
    operators: list[SegmentOperator] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        self.pieces.setdefault(piece.tensor, []).append(piece)

    def output(self, tensor: Tensor, box: Box) -> Piece:
        """The piece around a box of a computed tensor."""
        held = self._holder(tensor, box)
        return Piece(tensor=tensor, box=box, local=held.local, region=held.region)

    def append(self, step: OperatorBase, region: Box) -> None:
        """Cut a step to a region of its output."""
        rule = rule_of(step)
        operands = tuple(
            None if need is None else self._operand(step, tensor, need, region)
            for tensor, need in zip(step.inputs, rule.needs(step, region), strict=True)
        )
        local = local_tensor(step.output, region)
        self.add(Piece(tensor=step.output, box=region, local=local, region=region))
        if local is step.output and operands == step.inputs and isinstance(step, SegmentOperator):
            self.operators.append(step)
        else:
            self.operators.extend(rule.cut(step, region, Site(output=local, operands=operands)))

    def _operand(self, step: OperatorBase, tensor: Tensor, need: Box, region: Box) -> Tensor:
        """A tensor that holds just the need, or so much more as the step does not mind."""
        if tensor.is_constant:
            return constant_part(tensor, need)
        held = self._holder(tensor, need)
        rule = rule_of(step)
        if rule.accepts(step, region, need, held.region):
            return held.local
        return self._slice(held, need)

    def _holder(self, tensor: Tensor, box: Box) -> Piece:
        """The smallest piece around a box."""
        around = [piece for piece in self.pieces[tensor] if contains(piece.region, box)]
        return min(around, key=lambda piece: elements(piece.region))

    def _slice(self, held: Piece, need: Box) -> Tensor:
        """A copy of the need, kept for others with the same need."""
        local = local_tensor(held.tensor, need)
        place = within(need, held.region)
        self.operators.append(
            StridedSlice(
                index=held.tensor.index,
                input=held.local,
                output=local,
                starts=place.starts,
                counts=place.shape,
                strides=(1,) * len(place.starts),
            )
        )
        self.add(Piece(tensor=held.tensor, box=need, local=local, region=need))
        return local
