"""Holds a split model to its contract, for tests and for splits that come from elsewhere."""

from __future__ import annotations

import numpy as np

from fita.tinyml.errors import SplitError
from fita.tinyml.segment import OUTSIDE, Segment, SplitModel, Transfer
from fita.tinyml.split.box import contains, whole_box
from fita.tinyml.tensor import Array, Tensor

_HINT = "make splits with `partition`"


def check_split(split: SplitModel) -> None:
    """`SplitError` when bytes are missing or come twice, or a segment would wait for one that comes later."""
    for transfer in split.transfers:
        _check_transfer(split, transfer)
    for segment in split.segments:
        _check_filled(split, segment.index, segment.inputs)
        _check_order(segment)
    _check_filled(split, OUTSIDE, split.graph.outputs)


def _check_transfer(split: SplitModel, transfer: Transfer) -> None:
    place = f"transfer from {transfer.producer} to {transfer.consumer} ({transfer.source.name!r})"
    given = split.graph.inputs if transfer.producer == OUTSIDE else split.segments[transfer.producer].outputs
    taken = split.graph.outputs if transfer.consumer == OUTSIDE else split.segments[transfer.consumer].inputs
    if transfer.source not in given or transfer.destination not in taken:
        raise SplitError(f"{place}: no output goes to an input there", hint=_HINT)
    if transfer.consumer != OUTSIDE and transfer.producer >= transfer.consumer:
        raise SplitError(f"{place}: it goes backwards", hint=_HINT)
    boxes = ((transfer.source, transfer.source_box), (transfer.destination, transfer.destination_box))
    if not all(contains(whole_box(tensor.shape), box) for tensor, box in boxes):
        raise SplitError(f"{place}: it reaches beyond a tensor", hint=_HINT)
    if (
        transfer.source_box.shape != transfer.destination_box.shape
        or transfer.source.dtype != transfer.destination.dtype
    ):
        raise SplitError(f"{place}: source and destination differ in shape or type", hint=_HINT)


def _check_filled(split: SplitModel, place: int, tensors: tuple[Tensor, ...]) -> None:
    """Every element comes exactly once."""
    arrived: dict[Tensor, Array] = {tensor: np.zeros(tensor.shape, dtype=np.int32) for tensor in tensors}
    for transfer in split.arrivals[place]:
        arrived[transfer.destination][transfer.destination_box.slices] += 1
    for tensor, counts in arrived.items():
        if not (counts == 1).all():
            missing, doubled = int((counts == 0).sum()), int((counts > 1).sum())
            raise SplitError(
                f"segment {place}, {tensor.name!r}: {missing} elements never arrive, {doubled} more than once",
                hint=_HINT,
            )


def _check_order(segment: Segment) -> None:
    known = set(segment.inputs)
    for operator in segment.operators:
        if operator.output in known or not known.issuperset(operator.activation_inputs):
            raise SplitError(
                f"segment {segment.index}, {operator.name}: it reads what is not there, or writes what is",
                hint=_HINT,
            )
        known.add(operator.output)
    if not known.issuperset(segment.outputs) or not set(segment.inputs).isdisjoint(segment.outputs):
        raise SplitError(f"segment {segment.index}: an output is not computed here", hint=_HINT)
