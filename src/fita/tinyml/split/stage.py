"""A split as a chain of stages: which operators, cut how, in which shares.

Every share becomes one segment, in the order of the stages and of the shares in each. What lies between two
stages, skip connections included, goes straight from the segments that compute it to those that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise

import msgspec

from fita.tinyml.errors import SplitError
from fita.tinyml.graph import Graph
from fita.tinyml.operator import Conv2D, FullyConnected
from fita.tinyml.split.box import channel_axis, row_axis


class StageKind(StrEnum):
    """How the operators of a stage are shared out."""

    WHOLE = "whole"
    """One share computes everything."""
    ROWS = "rows"
    """Row slabs; what reaches over a slab's edge is computed twice or more (fused halo)."""
    OUTPUT_CHANNELS = "output-channels"
    """Output channels; operators that stay inside a channel continue without exchange."""
    INPUT_CHANNELS = "input-channels"
    """Input channels of the stage's last operator, which leaves int32 partial sums to the next stage."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Half-open range of a stage's `share_length`."""

    start: int
    stop: int


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Operators first..last-1 of a graph, cut as `kind` says.

    The `shares` follow one another and fill `share_length` without gap. Every segment of a stage exists `copies`
    times; copy `frame % copies` runs a frame.

    An INPUT_CHANNELS stage ends in a CONV_2D or FULLY_CONNECTED, whose partial sums the next stage accumulates
    before its own operators, whatever its kind. That next stage may have no operators of its own (first == last).
    """

    first: int
    last: int
    kind: StageKind = StageKind.WHOLE
    shares: tuple[Share, ...] = (Share(start=0, stop=1),)
    copies: int = 1


def share_length(graph: Graph, stage: Stage) -> int:
    """What the shares divide: rows or channels of the last output, or input channels of the last operator.

    1 where there is nothing to divide, as for WHOLE.
    """
    operator = graph.operators[stage.last - 1]
    shape = operator.output.shape
    match stage.kind:
        case StageKind.WHOLE:
            return 1
        case StageKind.ROWS:
            axis = row_axis(shape)
        case StageKind.OUTPUT_CHANNELS:
            axis = channel_axis(shape)
        case StageKind.INPUT_CHANNELS:
            return operator.weights.shape[-1] if isinstance(operator, Conv2D | FullyConnected) else 1
    return 1 if axis is None else shape[axis]


def even_shares(length: int, count: int) -> tuple[Share, ...]:
    """`count` shares that differ by at most one."""
    return weighted_shares(length, (1.0,) * count)


def weighted_shares(length: int, weights: Sequence[float], multiple: int = 1) -> tuple[Share, ...]:
    """Shares in proportion to the weights, cut at multiples of `multiple` where every share gets one.

    `SplitError` when there are more shares than there is to divide.
    """
    count, units = len(weights), length // multiple
    if units < count:
        if multiple > 1:
            return weighted_shares(length, weights)
        raise SplitError(f"{count} shares of {length}", hint=f"use at most {length} shares")
    total, passed, cuts = sum(weights), 0.0, [0]
    for position, weight in enumerate(weights[:-1], start=1):
        passed += weight
        cut = round(units * passed / total)
        cuts.append(min(max(cut, cuts[-1] + 1), units - count + position))
    edges = [cut * multiple for cut in cuts] + [length]
    return tuple(Share(start=start, stop=stop) for start, stop in pairwise(edges))


def check_stages(graph: Graph, stages: Sequence[Stage]) -> None:
    """`SplitError` when the stages are no split of this graph."""
    position, summing = 0, False
    for number, stage in enumerate(stages):
        place = f"stage {number} (operators {stage.first}..{stage.last - 1}, {stage.kind})"
        if stage.first != position or stage.last < position or stage.last > len(graph.operators):
            raise SplitError(f"{place}: it does not follow operator {position - 1}", hint="stages leave no gap")
        if stage.first == stage.last and not summing:
            raise SplitError(
                f"{place}: no operators", hint="only the stage after input-channel shards may be empty"
            )
        _check_kind(graph, stage, place)
        _check_shares(graph, stage, place)
        position, summing = stage.last, stage.kind is StageKind.INPUT_CHANNELS
    if position != len(graph.operators):
        raise SplitError(
            f"the stages end before operator {position} of {len(graph.operators)}", hint="add the missing stages"
        )
    if summing:
        raise SplitError(
            "the last stage leaves partial sums", hint="add a stage without operators that accumulates them"
        )


def _check_kind(graph: Graph, stage: Stage, place: str) -> None:
    if stage.copies < 1:
        raise SplitError(f"{place}: {stage.copies} copies", hint="use at least 1")
    if stage.kind is not StageKind.INPUT_CHANNELS:
        return
    if stage.first == stage.last or not isinstance(graph.operators[stage.last - 1], Conv2D | FullyConnected):
        raise SplitError(
            f"{place}: it does not end in CONV_2D or FULLY_CONNECTED",
            hint="only these sum over input channels; end the stage at one",
        )


def _check_shares(graph: Graph, stage: Stage, place: str) -> None:
    length = share_length(graph, stage)
    edges = [0, *(share.stop for share in stage.shares)]
    starts = [share.start for share in stage.shares]
    if not starts or starts != edges[:-1] or edges[-1] != length or any(s.start >= s.stop for s in stage.shares):
        ranges = ", ".join(f"{share.start}..{share.stop}" for share in stage.shares)
        raise SplitError(f"{place}: shares {ranges}", hint=f"fill 0..{length} without gap or empty share")
