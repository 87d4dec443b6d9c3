"""The reference executor against TFLite Micro on random models.

FITA_EXACT_MODELS sets how many whole random models are compared (300 by default; thousands in `make fuzz`).
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from tflite_micro import runtime

from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization
from fita.tinyml.errors import InputError
from fita.tinyml.execute import run_graph, run_operators
from fita.tinyml.generate import OPERATORS, ModelSize, random_inputs, random_model
from fita.tinyml.graph import Graph, live_tensors
from fita.tinyml.reader import read_model
from fita.tinyml.tensor import Array

MODELS = int(os.environ.get("FITA_EXACT_MODELS", "300"))
BATCHES = 10


def reference_outputs(data: bytes, inputs: tuple[Array, ...], count: int) -> list[Array]:
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 20)
    for position, array in enumerate(inputs):
        interpreter.set_input(array, position)
    interpreter.invoke()
    return [interpreter.get_output(position) for position in range(count)]


def assert_exact(data: bytes, seed: int) -> Graph:
    graph = read_model(data)
    inputs = random_inputs(graph, seed)
    expected = reference_outputs(data, inputs, len(graph.outputs))
    for tensor, found, wanted in zip(graph.outputs, run_graph(graph, inputs), expected, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=f"seed {seed}, output {tensor.name}")
        assert found.dtype == wanted.dtype
        assert found.shape == tensor.shape
    return graph


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_models_give_the_bytes_of_tflite_micro(batch: int) -> None:
    for seed in range(batch, MODELS, BATCHES):
        assert_exact(random_model(seed), seed)


@pytest.mark.parametrize("kind", OPERATORS)
def test_every_operator_alone_gives_the_bytes_of_tflite_micro(kind: str) -> None:
    met = 0
    for seed in range(15):
        graph = assert_exact(random_model(seed, ModelSize(operators=3), kinds=[kind]), seed)
        met += sum(operator.name.startswith(kind) for operator in graph.operators)
    assert met >= 15


def test_parts_run_one_after_the_other_give_the_whole() -> None:
    graph = read_model(random_model(3, ModelSize(operators=12)))
    inputs = random_inputs(graph, 3)
    cuts = live_tensors(graph)
    for cut in range(1, len(graph.operators)):
        values = run_operators(graph.operators[:cut], dict(zip(graph.inputs, inputs, strict=True)))
        passed = {tensor: values[tensor] for tensor in cuts[cut]}
        values = run_operators(graph.operators[cut:], passed)
        for tensor, wanted in zip(graph.outputs, run_graph(graph, inputs), strict=True):
            np.testing.assert_array_equal(values[tensor], wanted)


def test_inputs_may_go_by_name() -> None:
    graph = read_model(random_model(5))
    inputs = random_inputs(graph, 5)
    by_name = {tensor.name: array for tensor, array in zip(graph.inputs, inputs, strict=True)}
    for first, second in zip(run_graph(graph, inputs), run_graph(graph, by_name), strict=True):
        np.testing.assert_array_equal(first, second)


def test_wrong_inputs_are_named() -> None:
    graph = read_model(random_model(5))
    (image,) = random_inputs(graph, 5)
    with pytest.raises(InputError, match="2 inputs"):
        run_graph(graph, [image, image])
    with pytest.raises(InputError, match="is int16"):
        run_graph(graph, [image.astype(np.int16)])
    with pytest.raises(InputError, match="give int8"):
        run_graph(graph, [image[0]])
    with pytest.raises(InputError, match="nonsense"):
        run_graph(graph, {"nonsense": image})
    with pytest.raises(InputError, match="has no value"):
        run_operators(graph.operators, {})


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -1e30, np.nan, 0.49999997, -0.49999997, 0.5, -2.5])
def test_quantize_rounds_half_away_and_saturates(value: float) -> None:
    builder = ModelBuilder()
    fed = builder.input((1, 2), None)
    stored = builder.operator(
        "QUANTIZE", [fed.number], shape=(1, 2), quantization=Quantization(scale=1.0, zero_point=3)
    )
    graph = read_model(flatbuffer.write(builder.finish([stored])))
    (found,) = run_graph(graph, [np.full((1, 2), value, dtype=np.float32)])
    away = 0 if np.isnan(value) else np.sign(value) * np.floor(np.abs(np.float64(np.float32(value))) + 0.5)
    assert found.tolist() == [[int(np.clip(away + 3, -128, 127))] * 2]
