"""Shares, stages and which of them are refused with which words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.tinyml.errors import SplitError
from fita.tinyml.generate import ModelSize, random_model
from fita.tinyml.graph import Graph
from fita.tinyml.reader import read_model
from fita.tinyml.segment import Box
from fita.tinyml.split.box import bounding, contains, elements, intersection, merged, row_axis
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import (
    Share,
    Stage,
    StageKind,
    check_stages,
    even_shares,
    share_length,
    weighted_shares,
)


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Three convolutions."""
    return read_model(random_model(2, ModelSize(operators=3, side=10), kinds=["CONV_2D"]))


@given(
    st.integers(1, 200), st.lists(st.floats(0.01, 100.0), min_size=1, max_size=12), st.sampled_from([1, 2, 4, 8])
)
@settings(max_examples=200, deadline=None)
def test_shares_fill_their_length(length: int, weights: list[float], multiple: int) -> None:
    if length < len(weights):
        with pytest.raises(SplitError, match="shares of"):
            weighted_shares(length, weights, multiple)
        return
    shares = weighted_shares(length, weights, multiple)
    assert [shares[0].start, shares[-1].stop, len(shares)] == [0, length, len(weights)]
    assert all(a.stop == b.start for a, b in pairwise(shares))
    assert all(share.start < share.stop for share in shares)
    if length // multiple >= len(weights):
        assert all(share.start % multiple == 0 for share in shares)


def test_shares_follow_their_weights() -> None:
    assert even_shares(10, 3) == (Share(start=0, stop=3), Share(start=3, stop=7), Share(start=7, stop=10))
    assert weighted_shares(12, [1, 3, 2]) == (
        Share(start=0, stop=2),
        Share(start=2, stop=8),
        Share(start=8, stop=12),
    )
    assert weighted_shares(12, [1, 1], multiple=8) == even_shares(12, 2)


def test_rows_are_the_first_axis_that_can_be_cut() -> None:
    assert [row_axis(shape) for shape in [(1, 8, 4, 3), (1, 1, 4, 3), (5, 3), (1, 7), (7,), ()]] == [
        1, 2, 0, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([Stage(first=0, last=1)], "the stages end before operator 1 of 3"),
        ([Stage(first=0, last=1), Stage(first=2, last=3)], "stage 1 .* does not follow operator 0"),
        ([Stage(first=0, last=4)], "does not follow"),
        ([Stage(first=0, last=3), Stage(first=3, last=3)], "no operators"),
        ([Stage(first=0, last=3, copies=0)], "0 copies"),
        ([Stage(first=0, last=3, kind=StageKind.ROWS, shares=())], "fill 0.."),
        ([Stage(first=0, last=3, shares=even_shares(2, 2))], r"shares 0..1, 1..2 \(fill 0..1"),
        ([Stage(first=0, last=3, shares=(Share(start=0, stop=0), Share(start=0, stop=1)))], "empty share"),
    ],
)
def test_stages_that_are_no_split_are_refused(graph: Graph, stages: list[Stage], words: str) -> None:
    with pytest.raises(SplitError, match=words):
        partition(graph, stages)


def test_sums_need_an_operator_and_a_stage_that_ends_them(graph: Graph) -> None:
    length = share_length(graph, Stage(first=0, last=3, kind=StageKind.INPUT_CHANNELS))
    summing = Stage(first=0, last=3, kind=StageKind.INPUT_CHANNELS, shares=even_shares(length, 1))
    with pytest.raises(SplitError, match="leaves partial sums"):
        check_stages(graph, [summing])
    check_stages(graph, [summing, Stage(first=3, last=3)])
    with pytest.raises(SplitError, match="does not end in CONV_2D"):
        check_stages(graph, [summing, Stage(first=3, last=3, kind=StageKind.INPUT_CHANNELS)])
    pooled = read_model(random_model(2, ModelSize(operators=1), kinds=["MAX_POOL_2D"]))
    with pytest.raises(SplitError, match="only these sum over input channels"):
        check_stages(pooled, [Stage(first=0, last=1, kind=StageKind.INPUT_CHANNELS)])


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_random_stages_are_sound(seed: int) -> None:
    drawn = read_model(random_model(seed % 20))
    check_stages(drawn, random_stages(drawn, np.random.default_rng(seed)))


_RANGES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=2)
_BOXES = st.builds(
    lambda ranges: Box(starts=tuple(a for a, _ in ranges), stops=tuple(a + n for a, n in ranges)), _RANGES
)


@given(st.lists(_BOXES, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_merged_boxes_hold_each_and_are_no_larger(boxes: list[Box]) -> None:
    joined = merged(boxes)
    assert all(any(contains(outer, box) for outer in joined) for box in boxes)
    assert sum(map(elements, joined)) <= sum(map(elements, boxes))
    assert bounding(joined) == bounding(boxes)


@given(_BOXES, _BOXES)
@settings(max_examples=200, deadline=None)
def test_intersections_are_what_both_hold(first: Box, second: Box) -> None:
    field = np.zeros((20, 20), dtype=np.int8)
    field[first.slices] += 1
    field[second.slices] += 1
    common = intersection(first, second)
    assert int((field == 2).sum()) == (0 if common is None else elements(common))
    assert common is None or (field[common.slices] == 2).all()
