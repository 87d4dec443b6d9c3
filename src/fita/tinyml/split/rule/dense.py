"""Rule for FULLY_CONNECTED."""

from __future__ import annotations

from dataclasses import replace

from fita.tinyml.operator import FullyConnected
from fita.tinyml.segment import Box, SegmentOperator
from fita.tinyml.split.box import whole_box, with_axis
from fita.tinyml.split.rule.base import Rule, Site, channel_part, channel_requantization
from fita.tinyml.split.rule.window import bias_part


def reads_row_by_row(operator: FullyConnected) -> bool:
    """Whether each row of the output comes from the row of the input at the same place."""
    return (
        operator.input.shape[-1:] == operator.weights.shape[1:]
        and operator.input.shape[:-1] == operator.output.shape[:-1]
    )


class DenseRule(Rule[FullyConnected]):
    """Where the input is flattened, all rows are computed together from all of it."""

    def expand(self, operator: FullyConnected, box: Box) -> Box:
        if reads_row_by_row(operator):
            return box
        return with_axis(whole_box(operator.output.shape), -1, box.starts[-1], box.stops[-1])

    def needs(self, operator: FullyConnected, box: Box) -> tuple[Box | None, ...]:
        if reads_row_by_row(operator):
            return (with_axis(box, -1, 0, operator.input.shape[-1]),)
        return (whole_box(operator.input.shape),)

    def cut(self, operator: FullyConnected, box: Box, site: Site) -> tuple[SegmentOperator, ...]:
        start, stop = box.starts[-1], box.stops[-1]
        cut = replace(
            operator,
            input=site.operand,
            output=site.output,
            weights=channel_part(operator.weights, 0, start, stop),
            bias=bias_part(operator, start, stop),
            requantization=channel_requantization(operator.requantization, start, stop),
        )
        return (cut,)
