"""The segment file: what is packed comes back, both ends of an edge agree, and damage has a name."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fita.tinyml.errors import PackError
from fita.tinyml.generate import random_model
from fita.tinyml.operator import Quantize
from fita.tinyml.pack.element import _thresholds
from fita.tinyml.pack.layout import (
    CONSTANT_ALIGN,
    HEADER_BYTES,
    VERSION,
    Direction,
    content_digest,
    decode,
    encode,
)
from fita.tinyml.pack.loop import Loop, dense_strides, joined, loop_words
from fita.tinyml.pack.packer import PackedSegment, pack_split
from fita.tinyml.reader import read_model
from fita.tinyml.segment import OUTSIDE
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage
from fita.tinyml.tensor import Tensor

OWN = Path(__file__).parents[3] / "models"


def packed_model(seed: int) -> tuple[PackedSegment, ...]:
    graph = read_model(random_model(seed))
    return pack_split(partition(graph, random_stages(graph, np.random.default_rng(seed))))


@pytest.mark.parametrize("seed", range(20))
def test_files_say_what_was_packed(seed: int) -> None:
    for packed in packed_model(seed):
        assert decode(packed.data) == packed.file
        at = int.from_bytes(packed.data[20:24], "little")
        assert at % CONSTANT_ALIGN == 0
        assert packed.data[at:] == packed.file.constants
        assert packed.file.ram_bytes > packed.file.arena_bytes
        assert packed.file.heap_bytes == packed.file.ram_bytes + len(packed.file.constants)


def test_packing_again_gives_the_same_bytes() -> None:
    assert [packed.data for packed in packed_model(3)] == [packed.data for packed in packed_model(3)]


@pytest.mark.parametrize("seed", range(20))
def test_both_ends_of_an_edge_agree(seed: int) -> None:
    ends: dict[int, dict[int, tuple[int, int]]] = {}
    for packed in packed_model(seed):
        for edge in packed.file.edges:
            both = ends.setdefault(edge.transfer, {OUTSIDE: (edge.peer, edge.size_bytes)})
            both[packed.file.index] = (edge.peer, edge.size_bytes)
            assert edge.peer > packed.file.index or edge.direction is Direction.IN or edge.peer == OUTSIDE
    for both in ends.values():
        assert len({size for _, size in both.values()}) == 1
        places = [place for place in both if place != OUTSIDE]
        if len(places) == 2:
            assert both[places[0]][0] == places[1]
            assert both[places[1]][0] == places[0]


def test_equal_constants_are_stored_once() -> None:
    graph = read_model((OWN / "digits_residual.tflite").read_bytes())
    (packed,) = pack_split(partition(graph, [Stage(first=0, last=len(graph.operators))]))
    assert len(packed.file.constants) <= graph.weight_bytes + 8 * len(graph.operators)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:50], "no segment file"),
        (lambda data: b"TFL3" + data[4:], "no segment file"),
        (lambda data: data[:-1], "damaged or cut off"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "damaged"),
        (lambda data: data[:4] + bytes([VERSION + 1]) + data[5:], f"version {VERSION + 1}"),
    ],
)
def test_damage_has_a_name(change: object, says: str) -> None:
    assert callable(change)
    with pytest.raises(PackError, match=says):
        decode(change(packed_model(1)[0].data))


@settings(max_examples=200, deadline=None)
@given(place=st.integers(4, 60), value=st.integers(0, 255))
def test_hostile_headers_with_a_right_digest_have_a_name(place: int, value: int) -> None:
    content = bytearray(packed_model(1)[0].data)
    content[place] = value
    content[HEADER_BYTES - 32 : HEADER_BYTES] = content_digest(bytes(content))
    with contextlib.suppress(PackError):
        decode(bytes(content))


def test_records_that_reach_beyond_the_table_have_a_name() -> None:
    file = packed_model(2)[0].file
    hostile = replace(file, operators=((1, 10_000, 0), *file.operators))
    with pytest.raises(PackError, match="beyond the table"):
        decode(encode(hostile))


def test_edges_in_no_direction_have_a_name() -> None:
    file = packed_model(2)[0].file
    sideways = replace(file.edges[0], direction=7)
    with pytest.raises(PackError, match="direction"):
        decode(encode(replace(file, edges=(sideways, *file.edges[1:]))))


SHAPES = st.lists(st.integers(1, 4), min_size=0, max_size=5)


@given(shape=SHAPES, order=st.randoms(use_true_random=False))
def test_joined_loops_walk_the_same_elements(shape: list[int], order: object) -> None:
    assert hasattr(order, "shuffle")
    axes = list(range(len(shape)))
    order.shuffle(axes)
    source = dense_strides(shape)
    counts, strides = [shape[axis] for axis in axes], [source[axis] for axis in axes]
    wanted = np.arange(int(np.prod(shape))).reshape(shape).transpose(axes).reshape(-1).tolist()
    places = [0]
    for loop in joined(counts, strides):
        places = [place + step * loop.strides[0] for place in places for step in range(loop.count)]
    assert places == wanted


def test_too_many_loops_are_refused() -> None:
    with pytest.raises(PackError, match="6 loops"):
        loop_words([Loop(2, (7,))] * 6, 1)


@example(value=float(np.finfo(np.float32).max), zero_point=0, scale=0.5)
@given(
    value=st.floats(width=32, allow_nan=False),
    zero_point=st.integers(-128, 127),
    scale=st.floats(2.0**-13, 64, width=32),
)
def test_thresholds_of_quantize_answer_as_the_reference(value: float, zero_point: int, scale: float) -> None:
    from fita.tinyml.kernel.element import run_quantize

    source = Tensor(index=0, name="in", shape=(1,), dtype="float32")
    output = Tensor(index=1, name="out", shape=(1,), dtype="int8", scales=(scale,), zero_points=(zero_point,))
    operator = Quantize(index=0, input=source, output=output)
    data = np.asarray([value], dtype=np.float32)
    bits = int(data.view(np.int32)[0])
    ordered = bits if bits >= 0 else bits ^ 0x7FFFFFFF
    answer = int((_thresholds(operator) <= ordered).sum()) - 128
    assert answer == run_quantize(operator, data)[0]
