"""Slices as .tflite files: chained in TFLite Micro they give the whole model's bytes; the rest is refused."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tflite_micro import runtime

from fita.tinyml.errors import PackError
from fita.tinyml.execute import run_graph
from fita.tinyml.generate import random_inputs, random_model
from fita.tinyml.graph import Graph
from fita.tinyml.pack.tflite_slice import tflite_slice
from fita.tinyml.reader import read_model
from fita.tinyml.segment import OUTSIDE, SplitModel
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length
from fita.tinyml.tensor import Array, Tensor

MODELS = int(os.environ.get("FITA_SLICED_MODELS", "60"))
OWN = Path(__file__).parents[3] / "models"


def cut(graph: Graph, cuts: list[int]) -> SplitModel:
    return partition(graph, [Stage(first=first, last=last) for first, last in pairwise(cuts)])


def run_slices(split: SplitModel, inputs: tuple[Array, ...]) -> list[Array]:
    """Every slice in an interpreter of its own, fed with what those before it gave."""
    held: dict[tuple[int, Tensor], Array] = {
        (OUTSIDE, tensor): array for tensor, array in zip(split.graph.inputs, inputs, strict=True)
    }
    for segment in split.segments:
        interpreter = runtime.Interpreter.from_bytes(tflite_slice(segment), arena_size=1 << 20)
        for number, tensor in enumerate(segment.inputs):
            interpreter.set_input(delivered(split, segment.index, tensor, held), number)
        interpreter.invoke()
        for number, tensor in enumerate(segment.outputs):
            held[segment.index, tensor] = interpreter.get_output(number)
    return [delivered(split, OUTSIDE, tensor, held) for tensor in split.graph.outputs]


def delivered(split: SplitModel, place: int, tensor: Tensor, held: dict[tuple[int, Tensor], Array]) -> Array:
    array = tensor.empty()
    for transfer in split.arrivals[place]:
        if transfer.destination is tensor:
            source = held[transfer.producer, transfer.source].reshape(transfer.source.shape)
            array[transfer.destination_box.slices] = source[transfer.source_box.slices]
    return array


def assert_slices_are_exact(graph: Graph, cuts: list[int], seed: int) -> None:
    inputs = random_inputs(graph, seed)
    found = run_slices(cut(graph, cuts), inputs)
    for part, wanted in zip(found, run_graph(graph, inputs), strict=True):
        np.testing.assert_array_equal(part, wanted, err_msg=f"seed {seed}, cuts {cuts}")


def test_slices_of_random_models_give_the_whole_models_bytes() -> None:
    refused = 0
    for seed in range(MODELS):
        graph = read_model(random_model(seed))
        end = len(graph.operators)
        middle = sorted(set(np.random.default_rng(seed).integers(1, end, size=3).tolist())) if end > 1 else []
        try:
            assert_slices_are_exact(graph, [0, *middle, end], seed)
        except PackError:
            # Where a model reads only a part of an image, the splitter computes no more than that part.
            refused += 1
    assert refused < MODELS / 4


@pytest.mark.parametrize("name", ["digits", "digits_residual", "pedestrians"])
def test_slices_of_own_models_give_the_whole_models_bytes(name: str) -> None:
    graph = read_model((OWN / f"{name}.tflite").read_bytes())
    end = len(graph.operators)
    assert_slices_are_exact(graph, [0, end // 3, 2 * end // 3, end], 1)


@pytest.mark.parametrize("kind", [StageKind.ROWS, StageKind.INPUT_CHANNELS])
def test_what_the_format_cannot_say_is_refused(kind: StageKind) -> None:
    graph = read_model((OWN / "digits_residual.tflite").read_bytes())
    end = next(at for at, operator in enumerate(graph.operators) if at > 0 and operator.kind == "CONV_2D") + 1
    length = share_length(graph, Stage(first=0, last=end, kind=kind))
    split = partition(
        graph,
        [
            Stage(first=0, last=end, kind=kind, shares=even_shares(length, 2)),
            Stage(first=end, last=len(graph.operators)),
        ],
    )
    with pytest.raises(PackError, match="slabs" if kind is StageKind.ROWS else "PARTIAL_SUM"):
        [tflite_slice(segment) for segment in split.segments]
