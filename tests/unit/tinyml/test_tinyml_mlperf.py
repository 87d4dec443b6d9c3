"""MLPerf Tiny's reference models against TFLite Micro and against their published outputs.

The files are not part of this repository. They are looked for in $FITA_MODELS_DIR, else in `shared/models` beside
the checkout; a test that misses them says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tflite_micro import runtime

from fita.tinyml.execute import run_graph
from fita.tinyml.graph import Graph, peak_activation_bytes
from fita.tinyml.reader import read_model

FOLDER = Path(os.environ.get("FITA_MODELS_DIR") or Path(__file__).parents[4] / "shared" / "models")
FILES = {"kws": "kws_ref_model.tflite", "vww": "vww_96_int8.tflite", "ad": "ad01_int8.tflite"}


def file_bytes(name: str) -> bytes:
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"MLPerf Tiny's {name} is not in {FOLDER}; set FITA_MODELS_DIR to its folder")
    return path.read_bytes()


def graph(model: str) -> Graph:
    return read_model(file_bytes(FILES[model]), name=model)


@pytest.mark.parametrize(
    ("model", "macs", "constant_bytes", "peak"),
    [("kws", 2_656_768, 24_368, 16_000), ("vww", 7_489_664, 219_064, 55_296), ("ad", 264_192, 270_880, 768)],
)
def test_figures_are_the_published_ones(model: str, macs: int, constant_bytes: int, peak: int) -> None:
    read = graph(model)
    channels = sum(o.output_channels for o in read.operators if hasattr(o, "output_channels"))
    tables = sum(o.weight_bytes for o in read.operators if not hasattr(o, "output_channels"))
    assert read.macs == macs
    assert read.weight_bytes - 5 * channels - tables == constant_bytes
    assert peak_activation_bytes(read) == peak


def test_real_samples_give_the_published_outputs() -> None:
    file_bytes("samples_int8.npz")
    with np.load(FOLDER / "samples_int8.npz") as samples:
        (keyword,) = run_graph(graph("kws"), [samples["kws"]])
        people = [run_graph(graph("vww"), [image[None]])[0].tolist() for image in samples["vww"]]
    assert keyword.argmax() == 5
    assert keyword.max() == 127
    assert people == [[[-95, 95]], [[116, -116]]]


@pytest.mark.parametrize("model", list(FILES))
def test_random_inputs_give_the_bytes_of_tflite_micro(model: str) -> None:
    data = file_bytes(FILES[model])
    read = read_model(data)
    reference = runtime.Interpreter.from_bytes(data, arena_size=1 << 20)
    random = np.random.default_rng(4)
    for _ in range(5):
        fed = random.integers(-128, 128, size=read.inputs[0].shape, dtype=np.int8)
        reference.set_input(fed, 0)
        reference.invoke()
        np.testing.assert_array_equal(run_graph(read, [fed])[0], reference.get_output(0))
