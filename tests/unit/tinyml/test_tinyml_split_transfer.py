"""Which bytes travel: no more than the consumer reads, straight from their producer, each once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization, Value
from fita.tinyml.errors import SplitError
from fita.tinyml.graph import Graph
from fita.tinyml.operator import Conv2D, DepthwiseConv2D, StridedSlice
from fita.tinyml.reader import read_model
from fita.tinyml.segment import OUTSIDE, Accumulate, Box, PartialSum, SplitModel
from fita.tinyml.split.check import check_split
from fita.tinyml.split.cutter import Cutter
from fita.tinyml.split.partition import partition, stage_of_segments
from fita.tinyml.split.stage import Share, Stage, StageKind, even_shares

PLAIN = Quantization(scale=0.5, zero_point=-3)
SAME = {"StrideH": 1, "StrideW": 1, "Padding": 0}


class Sketch:
    """A small model of images 1x8x8xC."""

    def __init__(self, channels: int = 4) -> None:
        self.builder = ModelBuilder()
        self.value: Value = self.builder.input((1, 8, 8, channels), PLAIN)

    def conv(self, extent: int, channels: int) -> Sketch:
        content = np.ones((channels, extent, extent, self.value.shape[3]), dtype=np.int8)
        numbers = [self.value.number, self.builder.weights(content, (0.01,), 0)]
        self.value = self.builder.operator(
            "CONV_2D", numbers, shape=(1, 8, 8, channels), quantization=PLAIN, **SAME
        )
        return self

    def depthwise(self) -> Sketch:
        content = np.ones((1, 3, 3, self.value.shape[3]), dtype=np.int8)
        numbers = [self.value.number, self.builder.weights(content, (0.01,), 3)]
        self.value = self.builder.operator(
            "DEPTHWISE_CONV_2D", numbers, shape=self.value.shape, quantization=PLAIN, DepthMultiplier=1, **SAME
        )
        return self

    def add(self, other: Value) -> Sketch:
        numbers = [self.value.number, other.number]
        self.value = self.builder.operator("ADD", numbers, shape=self.value.shape, quantization=PLAIN)
        return self

    def read(self) -> Graph:
        return read_model(flatbuffer.write(self.builder.finish([self.value])))


def stage(first: int, last: int, kind: StageKind = StageKind.WHOLE, *edges: int) -> Stage:
    ends = edges or (0, 1)
    shares = tuple(Share(start=a, stop=b) for a, b in pairwise(ends))
    return Stage(first=first, last=last, kind=kind, shares=shares)


def traffic(split: SplitModel) -> dict[tuple[int, int], int]:
    """Bytes by producer and consumer."""
    found: dict[tuple[int, int], int] = {}
    for transfer in split.transfers:
        edge = (transfer.producer, transfer.consumer)
        found[edge] = found.get(edge, 0) + transfer.size_bytes
    return found


def test_whole_stages_pass_on_what_lives() -> None:
    split = partition(Sketch().conv(3, 6).conv(1, 2).read(), [stage(0, 1), stage(1, 2)])
    assert traffic(split) == {(OUTSIDE, 0): 256, (0, 1): 384, (1, OUTSIDE): 128}
    assert split.segments[0].operators[0] is split.graph.operators[0]


def test_a_skip_connection_goes_past_the_stages_between() -> None:
    sketch = Sketch().conv(1, 4)
    skipped = sketch.value
    graph = sketch.conv(3, 4).conv(3, 4).add(skipped).read()
    split = partition(graph, [stage(0, 1), stage(1, 2), stage(2, 3), stage(3, 4)])
    edges = {(OUTSIDE, 0): 256, (0, 1): 256, (1, 2): 256, (0, 3): 256, (2, 3): 256, (3, OUTSIDE): 256}
    assert traffic(split) == edges


def test_row_slabs_exchange_halo_rows_only() -> None:
    """3x3 over 8 rows of 8x4: a slab of 4 rows reads one row of its neighbour, the middle ones two."""
    graph = Sketch().conv(3, 4).conv(3, 4).read()
    row = 8 * 4
    two = partition(graph, [stage(0, 1, StageKind.ROWS, 0, 4, 8), stage(1, 2, StageKind.ROWS, 0, 4, 8)])
    assert traffic(two) == {
        (OUTSIDE, 0): 5 * row, (OUTSIDE, 1): 5 * row,
        (0, 2): 4 * row, (1, 2): row, (0, 3): row, (1, 3): 4 * row,
        (2, OUTSIDE): 4 * row, (3, OUTSIDE): 4 * row,
    }  # fmt: skip
    uneven = partition(graph, [stage(0, 1), stage(1, 2, StageKind.ROWS, 0, 1, 3, 8)])
    assert traffic(uneven) == {
        (OUTSIDE, 0): 8 * row, (0, 1): 2 * row, (0, 2): 4 * row, (0, 3): 6 * row,
        (1, OUTSIDE): row, (2, OUTSIDE): 2 * row, (3, OUTSIDE): 5 * row,
    }  # fmt: skip


def test_fused_row_slabs_compute_their_halo() -> None:
    graph = Sketch().conv(3, 4).conv(3, 4).read()
    split = partition(graph, [stage(0, 2, StageKind.ROWS, 0, 4, 8)])
    assert traffic(split) == {(OUTSIDE, 0): 6 * 32, (OUTSIDE, 1): 6 * 32, (0, OUTSIDE): 128, (1, OUTSIDE): 128}
    first, second = (segment.operators for segment in split.segments)
    assert [operator.output.shape for operator in first] == [(1, 5, 8, 4), (1, 4, 8, 4)]
    assert [operator.output.shape for operator in second] == [(1, 5, 8, 4), (1, 4, 8, 4)]
    assert isinstance(first[1], Conv2D)
    assert isinstance(second[1], Conv2D)
    assert (first[1].window.pad_top, first[1].window.pad_bottom) == (1, 0)
    assert (second[1].window.pad_top, second[1].window.pad_bottom) == (0, 1)


def test_output_channels_take_all_in_and_continue_without_exchange() -> None:
    graph = Sketch().conv(1, 6).depthwise().conv(1, 2).read()
    split = partition(graph, [stage(0, 2, StageKind.OUTPUT_CHANNELS, 0, 2, 6), stage(2, 3)])
    assert traffic(split) == {
        (OUTSIDE, 0): 256, (OUTSIDE, 1): 256, (0, 2): 128, (1, 2): 256, (2, OUTSIDE): 128,
    }  # fmt: skip
    conv, depthwise = split.segments[1].operators
    assert isinstance(conv, Conv2D)
    assert isinstance(depthwise, DepthwiseConv2D)
    assert conv.weights.shape == (4, 1, 1, 4)
    assert depthwise.weights.shape == (1, 3, 3, 4)
    assert len(conv.requantization.multipliers) == 4
    whole = sum(operator.weight_bytes for operator in graph.operators[:2])
    assert sum(segment.weight_bytes for segment in split.segments[:2]) == whole


def test_input_channels_follow_their_shard_and_leave_sums() -> None:
    """Depthwise in each shard, then partial sums: nothing but the sums of 8x8x2 int32 is exchanged."""
    graph = Sketch().conv(1, 6).depthwise().conv(1, 2).read()
    split = partition(
        graph,
        [
            stage(0, 1, StageKind.OUTPUT_CHANNELS, 0, 2, 6),
            stage(1, 3, StageKind.INPUT_CHANNELS, 0, 2, 6),
            stage(3, 3, StageKind.ROWS, 0, 4, 8),
        ],
    )
    half = 4 * 8 * 2 * 4
    assert traffic(split) == {
        (OUTSIDE, 0): 256, (OUTSIDE, 1): 256, (0, 2): 128, (1, 3): 256,
        (2, 4): half, (3, 4): half, (2, 5): half, (3, 5): half,
        (4, OUTSIDE): 64, (5, OUTSIDE): 64,
    }  # fmt: skip
    kinds = [type(operator) for segment in split.segments[2:] for operator in segment.operators]
    assert kinds == [DepthwiseConv2D, PartialSum, DepthwiseConv2D, PartialSum, Accumulate, Accumulate]


def test_only_the_first_shard_adds_the_bias() -> None:
    builder = ModelBuilder()
    fed = builder.input((1, 8), PLAIN)
    weights = builder.weights(np.ones((3, 8), dtype=np.int8), (0.01,), 0)
    bias = builder.weights(np.asarray([5, 6, 7], dtype=np.int32), (0.005,), 0)
    value = builder.operator("FULLY_CONNECTED", [fed.number, weights, bias], shape=(1, 3), quantization=PLAIN)
    graph = read_model(flatbuffer.write(builder.finish([value])))
    split = partition(graph, [stage(0, 1, StageKind.INPUT_CHANNELS, 0, 3, 5, 8), stage(1, 1)])
    sums = [operator for segment in split.segments for operator in segment.operators][:3]
    assert [isinstance(s, PartialSum) and s.bias is not None for s in sums] == [True, False, False]
    assert [isinstance(s, PartialSum) and s.weights.shape for s in sums] == [(3, 3), (3, 2), (3, 3)]
    assert [isinstance(s, PartialSum) and s.window for s in sums] == [None] * 3


def test_a_stride_leaves_unread_rows_where_they_are() -> None:
    """A 1x1 window in steps of 2 reads rows and columns 0, 2, 4, 6 of 8: seven of each travel."""
    builder = ModelBuilder()
    fed = builder.input((1, 8, 8, 4), PLAIN)
    first = builder.operator(
        "TANH", [fed.number], shape=fed.shape, quantization=Quantization(scale=1 / 128, zero_point=0)
    )
    weights = builder.weights(np.ones((2, 1, 1, 4), dtype=np.int8), (0.01,), 0)
    options = {"StrideH": 2, "StrideW": 2, "Padding": 0}
    value = builder.operator("CONV_2D", [first.number, weights], shape=(1, 4, 4, 2), quantization=PLAIN, **options)
    graph = read_model(flatbuffer.write(builder.finish([value])))
    assert traffic(partition(graph, [stage(0, 1), stage(1, 2)]))[0, 1] == 7 * 7 * 4


def test_two_readers_of_one_tensor_share_what_they_have_in_common() -> None:
    """The slab for the convolution holds the rows for the sum: they travel once and are sliced out."""
    sketch = Sketch().conv(1, 4)
    skipped = sketch.value
    graph = sketch.conv(3, 4).add(skipped).read()
    split = partition(graph, [stage(0, 1), stage(1, 3, StageKind.ROWS, 0, 4, 8)])
    assert traffic(split)[0, 1] == traffic(split)[0, 2] == 5 * 32
    assert [type(operator) for operator in split.segments[1].operators] == [
        Conv2D,
        StridedSlice,
        type(graph.operators[2]),
    ]


def test_segments_follow_stages_and_shares() -> None:
    stages = [stage(0, 1, StageKind.ROWS, 0, 4, 8), stage(1, 2)]
    assert stage_of_segments(stages) == ((0, 0), (0, 1), (1, 0))


def test_a_cutter_cuts_a_stage_once() -> None:
    graph = Sketch().conv(3, 4).conv(3, 4).read()
    cutter = Cutter(graph)
    rows = Stage(first=0, last=2, kind=StageKind.ROWS, shares=even_shares(8, 2))
    assert cutter.parts(rows) is cutter.parts(rows)
    split = partition(graph, [rows], cutter)
    assert split.segments[0].operators is cutter.parts(rows)[0].operators


def test_damaged_splits_are_refused() -> None:
    split = partition(Sketch().conv(3, 4).conv(3, 4).read(), [stage(0, 1), stage(1, 2, StageKind.ROWS, 0, 4, 8)])
    check_split(split)
    fed, *rest = split.transfers
    with pytest.raises(SplitError, match="256 elements never arrive, 0 more than once"):
        check_split(replace(split, transfers=tuple(rest)))
    with pytest.raises(SplitError, match="0 elements never arrive, 256 more than once"):
        check_split(replace(split, transfers=(fed, *split.transfers)))
    beyond = Box(starts=(0, 1, 0, 0), stops=(1, 9, 8, 4))
    with pytest.raises(SplitError, match="beyond a tensor"):
        check_split(replace(split, transfers=(replace(fed, source_box=beyond), *rest)))
    small = Box(starts=(0, 0, 0, 0), stops=(1, 1, 8, 4))
    with pytest.raises(SplitError, match="differ in shape"):
        check_split(replace(split, transfers=(replace(fed, source_box=small), *rest)))
    with pytest.raises(SplitError, match="no output goes to an input"):
        check_split(replace(split, transfers=(replace(fed, consumer=1), *rest)))
    first = replace(split.segments[0], operators=())
    with pytest.raises(SplitError, match="an output is not computed here"):
        check_split(replace(split, segments=(first, *split.segments[1:])))
