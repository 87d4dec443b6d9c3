"""Split models against the unsplit one, byte for byte: every kind of stage, random cuts, random uneven shares.

FITA_SPLIT_MODELS sets how many random models are split, each in several ways (200 by default; `tools.fuzz_split`
does thousands). The unsplit executor is held against TFLite Micro elsewhere; splits of real models are here.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tflite_micro import runtime

from fita.tinyml.execute import run_graph
from fita.tinyml.generate import OPERATORS, ModelSize, random_inputs, random_model
from fita.tinyml.graph import Graph
from fita.tinyml.reader import read_model
from fita.tinyml.segment import Accumulate, PartialSum
from fita.tinyml.split.check import check_split
from fita.tinyml.split.draw import random_stages
from fita.tinyml.split.execute import run_split
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length
from fita.tinyml.tensor import Array

MODELS = int(os.environ.get("FITA_SPLIT_MODELS", "200"))
BATCHES = 5
PLANS = 3
ROOT = Path(__file__).parents[3]
MLPERF = Path(os.environ.get("FITA_MODELS_DIR") or ROOT.parent / "shared" / "models")
OWN = ("digits.tflite", "digits_residual.tflite", "pedestrians.tflite")
FOREIGN = ("kws_ref_model.tflite", "vww_96_int8.tflite", "ad01_int8.tflite")


def assert_split_is_exact(graph: Graph, stages: tuple[Stage, ...], inputs: tuple[Array, ...]) -> None:
    split = partition(graph, stages)
    check_split(split)
    assert len(split.segments) == sum(len(stage.shares) for stage in stages)
    found = run_split(split, inputs)
    for tensor, part, wanted in zip(graph.outputs, found, run_graph(graph, inputs), strict=True):
        assert part.dtype == wanted.dtype
        np.testing.assert_array_equal(part, wanted, err_msg=f"{tensor.name} of {stages}")


def stages_of(graph: Graph, kind: StageKind, cuts: list[int], count: int) -> tuple[Stage, ...]:
    """One kind between all cuts, in at most `count` even shares; a closing stage after a last sum."""
    stages = []
    for first, last in pairwise(cuts):
        length = share_length(graph, Stage(first=first, last=last, kind=kind))
        stages.append(Stage(first=first, last=last, kind=kind, shares=even_shares(length, min(count, length))))
    if kind is StageKind.INPUT_CHANNELS:
        stages.append(Stage(first=cuts[-1], last=cuts[-1]))
    return tuple(stages)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_splits_of_random_models_are_exact(batch: int) -> None:
    for seed in range(batch, MODELS, BATCHES):
        graph = read_model(random_model(seed, ModelSize(operators=3 + seed % 8)))
        random = np.random.default_rng(seed)
        for _ in range(PLANS):
            assert_split_is_exact(graph, random_stages(graph, random), random_inputs(graph, seed))


@pytest.mark.parametrize("kind", [StageKind.ROWS, StageKind.OUTPUT_CHANNELS])
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_is_cut_exactly(operator: str, kind: StageKind) -> None:
    """Alone in a stage and fused with its like; some of the models do have something to cut."""
    shared = 0
    for seed in range(8):
        graph = read_model(random_model(seed, ModelSize(operators=3), kinds=[operator]))
        inputs, end = random_inputs(graph, seed), len(graph.operators)
        for cuts in ([0, end], list(range(end + 1))):
            stages = stages_of(graph, kind, cuts, 3)
            assert_split_is_exact(graph, stages, inputs)
            shared += any(len(stage.shares) > 1 for stage in stages)
    assert shared


@pytest.mark.parametrize("operator", ["CONV_2D", "FULLY_CONNECTED"])
def test_sums_over_input_channels_are_exact(operator: str) -> None:
    summed = 0
    for seed in range(12):
        graph = read_model(random_model(seed, ModelSize(operators=3), kinds=[operator]))
        positions = [o.index + 1 for o in graph.operators if o.kind == operator]
        if positions[-1:] != [len(graph.operators)]:
            continue
        stages = stages_of(graph, StageKind.INPUT_CHANNELS, [0, *positions], 3)
        assert_split_is_exact(graph, stages, random_inputs(graph, seed))
        kinds = [type(o) for segment in partition(graph, stages).segments for o in segment.operators]
        assert PartialSum in kinds
        assert Accumulate in kinds
        summed += 1
    assert summed >= 6


def reference_outputs(data: bytes, inputs: tuple[Array, ...], count: int) -> list[Array]:
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 20)
    for position, array in enumerate(inputs):
        interpreter.set_input(array, position)
    interpreter.invoke()
    return [interpreter.get_output(position) for position in range(count)]


def model_bytes(name: str) -> bytes:
    path = ROOT / "models" / name if name in OWN else MLPERF / name
    if not path.is_file() and name in FOREIGN:
        pytest.skip(f"MLPerf Tiny's {name} is not in {MLPERF}; set FITA_MODELS_DIR to its folder")
    return path.read_bytes()


@pytest.mark.parametrize("name", [*OWN, *FOREIGN])
def test_splits_of_real_models_give_the_bytes_of_tflite_micro(name: str) -> None:
    data = model_bytes(name)
    graph = read_model(data)
    random, end = np.random.default_rng(1), len(graph.operators)
    plans = [random_stages(graph, random) for _ in range(3)]
    halves = [0, end // 2, end]
    plans += [stages_of(graph, kind, halves, 4) for kind in (StageKind.ROWS, StageKind.OUTPUT_CHANNELS)]
    plans.append(tuple(Stage(first=position, last=position + 1) for position in range(end)))
    inputs = random_inputs(graph, 1)
    wanted = reference_outputs(data, inputs, len(graph.outputs))
    for stages in plans:
        split = partition(graph, stages)
        check_split(split)
        for found, reference in zip(run_split(split, inputs), wanted, strict=True):
            np.testing.assert_array_equal(found, reference, err_msg=str(stages))
