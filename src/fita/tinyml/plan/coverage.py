"""Which runs of operators the shares of a stage compute, all together, at least once over.

A stage computes what is needed after it, and of the tensors before that the boxes around what is read. Shares have
smaller boxes. They may leave out what lies between two of them, where a window or a slice skips elements or where
two readers want different ends of a tensor; elsewhere nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from operator import or_

from fita.tinyml.graph import Graph
from fita.tinyml.operator import Concatenation, OperatorBase, Reshape, StridedSlice, Transpose, Window
from fita.tinyml.split.box import whole_box
from fita.tinyml.split.rule.table import rule_of
from fita.tinyml.split.stage import StageKind


class Coverage:
    """Answers for runs of operators first..last-1 of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        read = {*graph.consumers, *graph.outputs}
        operators = graph.operators
        dead = [each.output not in read for each in operators]
        self._gaps = _counts(map(or_, dead, map(self._has_gaps, operators)))
        self._skips = _counts(_skips(each) for each in operators)
        self._turns = _counts(map(_turns, operators))
        self._idle = _counts(map(or_, dead, map(_joins_constants, operators)))

    def is_full(self, first: int, last: int, kind: StageKind) -> bool:
        """Whether shares together compute and receive no less than the whole does; False where it is not sure."""
        if self._gaps[last] > self._gaps[first]:
            return False
        # Windows skip rows and columns; channels lie along these only before an operator that turns axes.
        crossed = kind is not StageKind.OUTPUT_CHANNELS or self._turns[last] > self._turns[first]
        return not crossed or self._skips[last] == self._skips[first]

    def reads_always(self, first: int, last: int) -> bool:
        """Whether each share needs an input. Constants that are joined on may be all of one, or nothing."""
        return self._idle[last] == self._idle[first]

    def _has_gaps(self, operator: OperatorBase) -> bool:
        if isinstance(operator, StridedSlice) and any(abs(stride) > 1 for stride in operator.strides):
            return True
        needs = rule_of(operator).needs(operator, whole_box(operator.output.shape))
        return any(
            need != whole_box(tensor.shape) and len(set(self._graph.consumers[tensor])) > 1
            for tensor, need in zip(operator.inputs, needs, strict=True)
            if not tensor.is_constant
        )


def _skips(operator: OperatorBase) -> bool:
    """Whether rows or columns between two windows may be read by neither."""
    window = getattr(operator, "window", None)
    return isinstance(window, Window) and (
        window.stride_height > (window.height - 1) * window.dilation_height + 1
        or window.stride_width > (window.width - 1) * window.dilation_width + 1
    )


def _turns(operator: OperatorBase) -> bool:
    """Whether an axis of the output may be another one of an operand."""
    ranks = {len(tensor.shape) for tensor in operator.activation_inputs}
    return isinstance(operator, Reshape | Transpose) or ranks != {len(operator.output.shape)}


def _joins_constants(operator: OperatorBase) -> bool:
    return isinstance(operator, Concatenation) and any(tensor.is_constant for tensor in operator.operands)


def _counts(flags: Iterable[bool]) -> list[int]:
    """For each cut how many operators before it have the flag."""
    return list(accumulate(map(int, flags), initial=0))
