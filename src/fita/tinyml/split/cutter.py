"""The parts of one stage, for those who weigh many stages of one graph."""

from __future__ import annotations

from fita.tinyml.graph import Graph
from fita.tinyml.operator import Conv2D, FullyConnected, OperatorBase
from fita.tinyml.segment import Box
from fita.tinyml.split.box import channel_axis, row_axis, whole_box, with_axis
from fita.tinyml.split.part import Part, cut_part
from fita.tinyml.split.rule.sharded import ShardedSum, accumulation, partial_sums
from fita.tinyml.split.stage import Share, Stage, StageKind, share_length
from fita.tinyml.tensor import Tensor


class Cutter:
    """Cuts stages of a graph and remembers them: the same stage gives the same parts."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._parts: dict[tuple[Stage, Stage | None], tuple[Part, ...]] = {}
        self._sums: dict[Stage, tuple[ShardedSum, ...]] = {}
        end = len(graph.operators)
        self._last_read = {tensor: positions[-1] for tensor, positions in graph.consumers.items()}
        self._last_read |= dict.fromkeys(graph.outputs, end)

    def parts(self, stage: Stage, before: Stage | None = None) -> tuple[Part, ...]:
        """One part for each share. `before` is the stage before, which counts only if it has input channel shards.

        The stage is taken to be sound: `check_stages` has seen it.
        """
        summing = before if before is not None and before.kind is StageKind.INPUT_CHANNELS else None
        found = self._parts.get((stage, summing))
        if found is None:
            found = tuple(self._cut(stage, number, summing) for number in range(len(stage.shares)))
            self._parts[stage, summing] = found
        return found

    def _cut(self, stage: Stage, number: int, summing: Stage | None) -> Part:
        steps: list[OperatorBase] = list(self.graph.operators[stage.first : stage.last])
        if summing is not None:
            sums = self._sums_of(summing)
            steps.insert(0, accumulation(sums[0].source, sums))
        owned: dict[Tensor, Box] = {}
        if stage.kind is StageKind.INPUT_CHANNELS:
            own = self._sums_of(stage)[number]
            steps[-1] = own
            owned[own.output] = whole_box(own.output.shape)
        return cut_part(steps, owned | self._owned(stage, number, steps))

    def _sums_of(self, stage: Stage) -> tuple[ShardedSum, ...]:
        if stage not in self._sums:
            operator = self.graph.operators[stage.last - 1]
            if not isinstance(operator, Conv2D | FullyConnected):
                raise TypeError(f"{operator.name} has no sums over input channels")
            edges = tuple((share.start, share.stop) for share in stage.shares)
            self._sums[stage] = partial_sums(operator, edges)
        return self._sums[stage]

    def _owned(self, stage: Stage, number: int, steps: list[OperatorBase]) -> dict[Tensor, Box]:
        """What a share has to give of each tensor that is needed after the stage."""
        length = share_length(self.graph, stage)
        owned: dict[Tensor, Box] = {}
        for step in steps:
            if self._last_read.get(step.output, -1) >= stage.last:
                box = owned_box(step.output, stage.kind, stage.shares[number], length)
                if box is not None:
                    owned[step.output] = box
        return owned


def owned_box(tensor: Tensor, kind: StageKind, share: Share, length: int) -> Box | None:
    """The share's part of a tensor, in proportion where its axis has another length; None for nothing."""
    box = whole_box(tensor.shape)
    if kind is StageKind.WHOLE:
        return box
    axis = row_axis(tensor.shape) if kind is StageKind.ROWS else channel_axis(tensor.shape)
    size = 1 if axis is None else tensor.shape[axis]
    start, stop = ((2 * edge * size + length) // (2 * length) for edge in (share.start, share.stop))
    if start == stop:
        return None
    return box if axis is None else with_axis(box, axis, start, stop)
