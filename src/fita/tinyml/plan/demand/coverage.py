"""Whether the shares of a stage together compute and receive no less than the stage would as a whole.

A share computes a box of each tensor, the box around what its own readers want of it, and so does the whole. The
boxes of the shares cover that of the whole if some reader wants all of it and reads without gaps. They may leave
out what lies between two shares where a window or a slice skips elements, and what lies between two readers that
want different ends of a tensor.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import accumulate

from fita.tinyml.graph import Graph
from fita.tinyml.operator import Concatenation, OperatorBase, Reshape, StridedSlice, Transpose, Window
from fita.tinyml.split.stage import StageKind


class Gap(IntEnum):
    """What the shares of a stage may leave out."""

    NONE = 0
    WINDOWS = 1
    """Rows or columns between two windows."""
    ANY = 2


def gap_of(operator: OperatorBase) -> Gap:
    """What an operator leaves out between two boxes of its output that touch."""
    if isinstance(operator, StridedSlice) and any(abs(stride) > 1 for stride in operator.strides):
        return Gap.ANY
    window = getattr(operator, "window", None)
    skips = isinstance(window, Window) and (
        window.stride_height > (window.height - 1) * window.dilation_height + 1
        or window.stride_width > (window.width - 1) * window.dilation_width + 1
    )
    return Gap.WINDOWS if skips else Gap.NONE


class Coverage:
    """Answers for runs of operators first..last-1 of one graph."""

    def __init__(self, graph: Graph) -> None:
        read = {*graph.consumers, *graph.outputs}
        self._turns = list(accumulate((_turns(each) for each in graph.operators), initial=0))
        self._idle = list(
            accumulate((_joins_constants(each) or each.output not in read for each in graph.operators), initial=0)
        )

    def is_full(self, first: int, last: int, kind: StageKind, gap: Gap) -> bool:
        """Whether nothing is left out, given the gap of the whole; False where that is not sure."""
        # Channels lie along rows or columns only before an operator that turns axes.
        if kind is StageKind.OUTPUT_CHANNELS and self._turns[last] == self._turns[first]:
            return gap <= Gap.WINDOWS
        return gap is Gap.NONE

    def reads_always(self, first: int, last: int) -> bool:
        """Whether each share needs an input. Constants that are joined on may be all of one, or nothing."""
        return self._idle[last] == self._idle[first]


def _turns(operator: OperatorBase) -> bool:
    """Whether an axis of the output may be another one of an operand."""
    ranks = {len(tensor.shape) for tensor in operator.activation_inputs}
    return isinstance(operator, Reshape | Transpose) or ranks != {len(operator.output.shape)}


def _joins_constants(operator: OperatorBase) -> bool:
    return isinstance(operator, Concatenation) and any(tensor.is_constant for tensor in operator.operands)
