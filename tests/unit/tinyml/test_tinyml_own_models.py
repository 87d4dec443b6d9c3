"""The project's own models in models/: their size, shape and the outputs stored beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite_micro import runtime

from fita.tinyml.execute import run_graph
from fita.tinyml.graph import Add, Graph, peak_activation_bytes
from fita.tinyml.reader import read_model

FOLDER = Path(__file__).parents[3] / "models"
SIZES = {"digits": (25_000, 35_000), "digits_residual": (85_000, 115_000), "pedestrians": (600_000, 900_000)}


def graph(name: str) -> Graph:
    return read_model((FOLDER / f"{name}.tflite").read_bytes(), name=name)


@pytest.mark.parametrize("name", SIZES)
def test_stored_outputs_are_what_the_executor_and_tflite_micro_give(name: str) -> None:
    read = graph(name)
    reference = runtime.Interpreter.from_file(str(FOLDER / f"{name}.tflite"), arena_size=4 << 20)
    with np.load(FOLDER / f"{name}.npz") as samples:
        right = 0
        for image, output, label in zip(samples["inputs"], samples["outputs"], samples["labels"], strict=True):
            reference.set_input(image[None], 0)
            reference.invoke()
            np.testing.assert_array_equal(reference.get_output(0)[0], output)
            np.testing.assert_array_equal(run_graph(read, [image[None]])[0][0], output)
            right += int(output.argmax() == label)
        assert right >= 0.8 * len(samples["labels"])


@pytest.mark.parametrize("name", SIZES)
def test_files_have_the_sizes_that_the_readme_names(name: str) -> None:
    least, most = SIZES[name]
    assert least <= (FOLDER / f"{name}.tflite").stat().st_size <= most


def test_residual_model_has_skip_connections() -> None:
    read = graph("digits_residual")
    assert sum(isinstance(operator, Add) for operator in read.operators) == 4
    assert any(len(readers) > 1 for readers in read.consumers.values())


def test_pedestrians_need_more_than_one_device_of_512_kb() -> None:
    read = graph("pedestrians")
    assert read.weight_bytes > 512 * 1024
    assert peak_activation_bytes(read) < 64 * 1024
