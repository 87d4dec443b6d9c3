"""Arenas: small, the smallest where that is known, and harmless to kernels that keep the contract."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization
from fita.tinyml.generate import ModelSize, random_inputs, random_model
from fita.tinyml.graph import Graph, peak_activation_bytes
from fita.tinyml.reader import read_model
from fita.tinyml.segment import Segment, SplitModel
from fita.tinyml.split.arena.overlap import clearance_bytes
from fita.tinyml.split.arena.packing import least_bytes, pack
from fita.tinyml.split.arena.run import run_in_arena
from fita.tinyml.split.arena.storage import Storage, aligned
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.execute import run_segment, run_segments
from fita.tinyml.split.memory import MemoryPlan, segment_memory
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length
from fita.tinyml.tensor import TYPE_BYTES, Array, Tensor

MODELS = int(os.environ.get("FITA_SPLIT_MODELS", "200")) // 2
BATCHES = 4
ROOT = Path(__file__).parents[3]
MLPERF = Path(os.environ.get("FITA_MODELS_DIR") or ROOT.parent / "shared" / "models")
PLAIN = Quantization(scale=0.5, zero_point=-3)


def assert_arena_is_exact(segment: Segment, values: dict[Tensor, Array]) -> MemoryPlan:
    """`values` holds what the segment's inputs are, and what its outputs should be."""
    plan = segment_memory(segment)
    for tensor, start in plan.offsets.items():
        assert 0 <= start <= plan.arena_bytes - tensor.size_bytes
        assert start % min(TYPE_BYTES[tensor.dtype], 4) == 0
    for tensor, found in run_in_arena(segment, plan, values).items():
        np.testing.assert_array_equal(found, values[tensor], err_msg=f"segment {segment.index}, {tensor.name}")
    return plan


def whole(graph: Graph) -> Segment:
    return partition(graph, [Stage(first=0, last=len(graph.operators))]).segments[0]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_segments_run_in_their_arenas(batch: int) -> None:
    for seed in range(batch, MODELS, BATCHES):
        graph = read_model(random_model(seed, ModelSize(operators=3 + seed % 8)))
        split = partition(graph, random_stages(graph, np.random.default_rng(seed)))
        held = run_segments(split, random_inputs(graph, seed))
        for segment in split.segments:
            assert_arena_is_exact(segment, held[segment.index])


@pytest.mark.parametrize(
    "kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "FULLY_CONNECTED"]
)
def test_the_contract_allows_no_byte_less(kind: str) -> None:
    """Where the clearance says that one byte less would be too little, it shows."""
    met = 0
    for seed in range(30):
        graph = read_model(random_model(seed, ModelSize(operators=4), kinds=[kind]))
        stages = [Stage(first=position, last=position + 1) for position in range(len(graph.operators))]
        for segment in partition(graph, stages).segments:
            if segment.operators:  # what nobody reads is not computed
                met += _shows_one_byte_less(segment, np.random.default_rng(seed))
    assert met >= 5


def _shows_one_byte_less(segment: Segment, random: np.random.Generator) -> bool:
    (operator,), (fed,) = segment.operators, segment.inputs
    clearance = clearance_bytes(operator, fed)
    if not clearance or fed.dtype != "int8":
        return False
    values = run_segment(segment, {fed: random.integers(-128, 128, fed.shape, dtype=np.int8)})
    np.testing.assert_array_equal(_overlapping(segment, clearance, values), values[operator.output])
    return not np.array_equal(_overlapping(segment, clearance - 1, values), values[operator.output])


def _overlapping(segment: Segment, clearance: int, values: dict[Tensor, Array]) -> Array:
    """The output computed with the input so many bytes above it."""
    (fed,), (given,) = segment.inputs, segment.outputs
    size = max(clearance + fed.size_bytes, given.size_bytes)
    plan = MemoryPlan(arena_bytes=size, offsets={given: 0, fed: clearance}, optimal=False)
    return run_in_arena(segment, plan, values)[given]


@pytest.mark.parametrize(
    ("name", "arena_bytes"),
    [
        ("digits.tflite", 1_888),
        ("digits_residual.tflite", 8_704),
        ("kws_ref_model.tflite", 11_840),
        ("vww_96_int8.tflite", 37_632),
        ("ad01_int8.tflite", 768),
    ],
)
def test_arenas_of_real_models(name: str, arena_bytes: int) -> None:
    """The published peaks without overlap are 16,000 for kws and 55,296 for vww."""
    path = ROOT / "models" / name
    if not path.is_file():
        path = MLPERF / name
    if not path.is_file():
        pytest.skip(f"MLPerf Tiny's {name} is not in {MLPERF}; set FITA_MODELS_DIR to its folder")
    graph = read_model(path.read_bytes())
    segment = whole(graph)
    values = run_segment(segment, dict(zip(segment.inputs, random_inputs(graph, 1), strict=True)))
    plan = assert_arena_is_exact(segment, values)
    assert (plan.arena_bytes, plan.optimal) == (arena_bytes, True)
    assert plan.arena_bytes <= peak_activation_bytes(graph)


def elementwise() -> Iterator[tuple[str, Graph, int]]:
    """Graphs over an input of 64 bytes and what their arena comes to."""
    for name, build, size in (
        ("in place", lambda b, x: b.operator("ADD", [x.number, x.number], shape=x.shape, quantization=PLAIN), 64),
        ("view", lambda b, x: b.operator("RESHAPE", [x.number], shape=(1, 64), quantization=PLAIN), 64),
        (
            "joined in place",
            lambda b, x: b.operator(
                "CONCATENATION",
                [
                    b.operator("RELU6", [x.number], shape=x.shape, quantization=PLAIN).number,
                    b.operator("RELU6", [x.number], shape=x.shape, quantization=PLAIN).number,
                ],
                shape=(1, 8, 4, 4),
                quantization=PLAIN,
                Axis=1,
            ),
            64 + 128,
        ),
    ):
        builder = ModelBuilder()
        value = build(builder, builder.input((1, 4, 4, 4), PLAIN))
        yield name, read_model(flatbuffer.write(builder.finish([value]))), size


@pytest.mark.parametrize(("graph", "size"), [pytest.param(g, s, id=n) for n, g, s in elementwise()])
def test_moves_and_elements_take_no_memory_of_their_own(graph: Graph, size: int) -> None:
    assert segment_memory(whole(graph)).arena_bytes == size


def test_a_slab_is_sliced_out_of_its_halo_without_a_copy() -> None:
    builder = ModelBuilder()
    fed = builder.input((1, 8, 8, 4), PLAIN)
    weights = builder.weights(np.ones((4, 3, 3, 4), dtype=np.int8), (0.01,), 0)
    options = {"StrideH": 1, "StrideW": 1, "Padding": 0}
    conv = builder.operator("CONV_2D", [fed.number, weights], shape=fed.shape, quantization=PLAIN, **options)
    total = builder.operator("ADD", [fed.number, conv.number], shape=fed.shape, quantization=PLAIN)
    graph = read_model(flatbuffer.write(builder.finish([total])))
    rows = Stage(first=0, last=2, kind=StageKind.ROWS, shares=even_shares(8, 2))
    segment = partition(graph, [rows]).segments[1]
    plan = segment_memory(segment)
    slab = segment.operators[1].output
    assert slab.shape == (1, 4, 8, 4)
    assert plan.offsets[slab] == plan.offsets[segment.inputs[0]] + 32
    assert plan.arena_bytes == 5 * 32 + 4 * 32


def test_sums_lie_on_words() -> None:
    split, values = _summed()
    for segment in split.segments:
        assert_arena_is_exact(segment, values[segment.index])


def _summed() -> tuple[SplitModel, dict[int, dict[Tensor, Array]]]:
    for seed in range(50):
        graph = read_model(random_model(seed, ModelSize(operators=2), kinds=["CONV_2D"]))
        summing = Stage(first=0, last=len(graph.operators), kind=StageKind.INPUT_CHANNELS)
        length = share_length(graph, summing)
        if length >= 3 and graph.operators[-1].kind == "CONV_2D":
            stages = [
                Stage(first=summing.first, last=summing.last, kind=summing.kind, shares=even_shares(length, 3)),
                Stage(first=summing.last, last=summing.last),
            ]
            split = partition(graph, stages)
            return split, run_segments(split, random_inputs(graph, 0))
    raise AssertionError("no seed gives enough channels")


def test_same_segment_same_plan() -> None:
    segment = whole(read_model(random_model(11, ModelSize(operators=12))))
    assert segment_memory(segment).offsets == segment_memory(segment).offsets


def test_a_segment_without_operators_takes_nothing() -> None:
    assert segment_memory(Segment(index=0, operators=(), inputs=(), outputs=())).arena_bytes == 0


@st.composite
def drawn_storages(draw: st.DrawFn) -> list[Storage]:
    found: list[Storage] = []
    for born in range(draw(st.integers(1, 6))):
        size, life, align = draw(st.integers(1, 20)), draw(st.integers(0, 3)), draw(st.sampled_from([1, 4]))
        storage = Storage(size_bytes=size, born=born, dies=born + life, align=align, places={})
        for other in found:
            if other.dies == born and draw(st.booleans()):
                storage.clearances[other] = draw(st.integers(0, size))
        found.append(storage)
    return found


def smallest(storages: list[Storage]) -> int:
    """By every order from the bottom up."""
    best = sum(aligned(storage.size_bytes, 4) for storage in storages)
    for order in permutations(storages):
        offsets: dict[Storage, int] = {}
        for storage in order:
            under = [at + other.gap_bytes(storage) for other, at in offsets.items() if storage.meets(other)]
            offsets[storage] = aligned(max(under, default=0), storage.align)
        best = min(best, max(at + storage.size_bytes for storage, at in offsets.items()))
    return best


@given(drawn_storages())
@settings(max_examples=150, deadline=None)
def test_packings_are_the_smallest(storages: list[Storage]) -> None:
    packing = pack(storages)
    assert packing.optimal
    assert packing.size_bytes == smallest(storages)
    assert packing.size_bytes >= least_bytes(storages)
    for first, at in packing.offsets.items():
        for second, place in packing.offsets.items():
            if first is not second and first.meets(second) and at <= place:
                below = at + first.gap_bytes(second) <= place
                assert below or place + second.gap_bytes(first) <= at


def test_a_model_of_a_hundred_operators_runs_in_its_arena() -> None:
    """Too many skips for a proof; the arena is small all the same."""
    graph = read_model(random_model(6, ModelSize(operators=100, side=14)))
    segment = whole(graph)
    values = run_segment(segment, dict(zip(segment.inputs, random_inputs(graph, 6), strict=True)))
    plan = assert_arena_is_exact(segment, values)
    assert plan.arena_bytes < 0.6 * peak_activation_bytes(graph)
