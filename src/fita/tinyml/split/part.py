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


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A step, the box of its output that it computes, and what that reads of each of its inputs."""

    step: OperatorBase
    region: Box
    needs: tuple[Box | None, ...]


def cut_part(steps: Sequence[OperatorBase], owned: Mapping[Tensor, Box]) -> Part:
    """What of the steps computes the owned boxes, all of tensors that the steps compute.

    Steps that contribute nothing are left out. Inputs are the fewest bytes that do.
    """
    demands: dict[Tensor, list[Box]] = {tensor: [box] for tensor, box in owned.items()}
    tasks = _tasks(steps, demands)
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
    for task in tasks:
        assembly.append(task)
    outputs = tuple(assembly.output(tensor, box) for tensor, box in owned.items())
    return Part(operators=tuple(assembly.operators), inputs=inputs, outputs=outputs)


def _tasks(steps: Sequence[OperatorBase], demands: dict[Tensor, list[Box]]) -> list[_Task]:
    """The steps that are needed for the demands, in order; adds to the demands what these steps read."""
    tasks: list[_Task] = []
    for step in reversed(steps):
        if step.output not in demands:
            continue
        rule = rule_of(step)
        region = rule.expand(step, bounding(demands[step.output]))
        task = _Task(step, region, rule.needs(step, region))
        tasks.append(task)
        for tensor, need in zip(step.inputs, task.needs, strict=True):
            if need is not None and not tensor.is_constant:
                demands.setdefault(tensor, []).append(need)
    tasks.reverse()
    return tasks


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

    def append(self, task: _Task) -> None:
        """Cut a step to its region."""
        step, region = task.step, task.region
        operands = tuple(
            None if need is None else self._operand(task, tensor, need)
            for tensor, need in zip(step.inputs, task.needs, strict=True)
        )
        local = local_tensor(step.output, region)
        self.add(Piece(tensor=step.output, box=region, local=local, region=region))
        if local is step.output and operands == step.inputs and isinstance(step, SegmentOperator):
            self.operators.append(step)
        else:
            site = Site(output=local, operands=operands)
            self.operators.extend(rule_of(step).cut(step, region, site))

    def _operand(self, task: _Task, tensor: Tensor, need: Box) -> Tensor:
        """A tensor that holds just the need, or so much more as the step does not mind."""
        if tensor.is_constant:
            return constant_part(tensor, need)
        held = self._holder(tensor, need)
        if held.region == need or rule_of(task.step).accepts(task.step, task.region, need, held.region):
            return held.local
        return self._slice(held, need)

    def _holder(self, tensor: Tensor, box: Box) -> Piece:
        """The smallest piece around a box."""
        pieces = self.pieces[tensor]
        if len(pieces) == 1:
            return pieces[0]
        around = [piece for piece in pieces if contains(piece.region, box)]
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
