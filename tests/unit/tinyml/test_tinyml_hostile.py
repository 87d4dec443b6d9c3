"""Files made to hurt the Reader: an error, or a graph, in little memory.

FITA_FUZZ_INPUTS sets how many damaged files are read (3000 by default; `make fuzz` reads a million).
"""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace

import flatbuffers
import numpy as np
import pytest
import tflite

from fita.tinyml.decode import flatbuffer
from fita.tinyml.draw.damage import damaged
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization
from fita.tinyml.errors import ModelError, ModelFormatError, UnsupportedModelError
from fita.tinyml.generate import ModelSize, random_file_model, random_model
from fita.tinyml.reader import read_model

INPUTS = int(os.environ.get("FITA_FUZZ_INPUTS", "3000"))


@pytest.mark.parametrize("batch", range(4))
def test_damaged_files_give_a_graph_or_a_model_error(batch: int) -> None:
    random = np.random.default_rng(batch)
    records = [random_file_model(seed, ModelSize(operators=4)) for seed in range(40)]
    models = [flatbuffer.write(record) for record in records]
    refused = 0
    for _ in range(INPUTS // 4):
        try:
            read_model(damaged(models, records, random))
        except ModelError:
            refused += 1
    assert refused > INPUTS // 4 // 2


def test_every_beginning_of_a_file_is_refused() -> None:
    data = random_model(11, ModelSize(operators=2))
    for length in range(len(data) - 4):
        with pytest.raises(ModelError):
            read_model(data[:length])


@pytest.mark.parametrize("data", [b"", b"TFL3", b"PK\x03\x04" + bytes(100), bytes(8), b"\x00\x00\x00\x00TFL4"])
def test_other_files_are_no_models(data: bytes) -> None:
    with pytest.raises(ModelFormatError, match="not a TensorFlow Lite model"):
        read_model(data)


@pytest.mark.parametrize("root", [0, 1, 4, 8, 100, 2**31 - 1, 2**31, 2**32 - 1])
def test_root_offsets_anywhere_are_damage(root: int) -> None:
    with pytest.raises(ModelFormatError):
        read_model(root.to_bytes(4, "little") + b"TFL3" + bytes(100))


@pytest.mark.parametrize("number", [2**32 - 1, 2**31 - 1, 2**24, 2**16])
def test_wild_lengths_take_no_memory(number: int) -> None:
    """Each number of a file in turn becomes huge: lengths, offsets and sizes among them."""
    data = random_model(12, ModelSize(operators=2, side=3, channels=2))
    tracemalloc.start()
    try:
        for place in range(0, len(data) - 3, 4):
            changed = data[:place] + number.to_bytes(4, "little") + data[place + 4 :]
            try:
                read_model(changed)
            except ModelError:
                continue
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def shared_table(tensors: int, scales: int) -> bytes:
    """A file whose tensors are all one and the same table, with long scales: its parts multiply."""
    builder = flatbuffers.Builder(1 << 16)
    values = builder.CreateNumpyVector(np.full(scales, 0.5, dtype=np.float32))
    points = builder.CreateNumpyVector(np.zeros(scales, dtype=np.int64))
    tflite.QuantizationParametersStart(builder)
    tflite.QuantizationParametersAddScale(builder, values)
    tflite.QuantizationParametersAddZeroPoint(builder, points)
    quantization = tflite.QuantizationParametersEnd(builder)
    tflite.TensorStart(builder)
    tflite.TensorAddQuantization(builder, quantization)
    tensor = tflite.TensorEnd(builder)
    tflite.BufferStart(builder)
    buffer = tflite.BufferEnd(builder)
    vectors = []
    for offsets in ([tensor] * tensors, [buffer]):
        builder.StartVector(4, len(offsets), 4)
        for offset in offsets:
            builder.PrependUOffsetTRelative(offset)
        vectors.append(builder.EndVector())
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, vectors[0])
    graph = tflite.SubGraphEnd(builder)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, vectors[1])
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_parts_that_share_bytes_do_not_multiply() -> None:
    data = shared_table(tensors=9_000, scales=9_000)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFormatError, match="overlap"):
            read_model(data)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_too_many_tensors_are_refused() -> None:
    with pytest.raises(ModelFormatError, match="20000 tensors, at most 10000"):
        read_model(shared_table(tensors=20_000, scales=1))


def test_weights_used_over_and_over_are_refused() -> None:
    """A small file that asks for gigabytes of work."""
    builder = ModelBuilder()
    plain = Quantization(scale=0.5, zero_point=0)
    fed = builder.input((1, 1_000), plain)
    weights = builder.weights(np.ones((1_000, 1_000), dtype=np.int8), (0.1,), 0)
    value = fed
    for _ in range(1_500):
        value = builder.operator("FULLY_CONNECTED", [value.number, weights], shape=(1, 1_000), quantization=plain)
    with pytest.raises(ModelFormatError, match="bytes of weights"):
        read_model(flatbuffer.write(builder.finish([value])))


def test_contradicting_operator_codes_are_read_as_tflite_micro_reads_them() -> None:
    """The package would take the old field (RELU) where the new one (TANH is 28) is larger."""
    builder = ModelBuilder()
    fed = builder.input((1, 4), Quantization(scale=0.5, zero_point=0))
    value = builder.operator(
        "RELU", [fed.number], shape=(1, 4), quantization=Quantization(scale=1 / 128, zero_point=0)
    )
    data = flatbuffer.write(builder.finish([value]))
    codes = [place for place in range(0, len(data), 4) if data[place : place + 4] == (19).to_bytes(4, "little")]
    assert len(codes) == 1
    changed = data[: codes[0]] + (28).to_bytes(4, "little") + data[codes[0] + 4 :]
    assert read_model(changed).operators[0].name.startswith("TANH")


def test_external_buffers_are_refused() -> None:
    builder = flatbuffers.Builder(1024)
    tflite.BufferStart(builder)
    tflite.BufferAddOffset(builder, 1 << 20)
    buffer = tflite.BufferEnd(builder)
    tflite.SubGraphStart(builder)
    graph = tflite.SubGraphEnd(builder)
    vectors = []
    for offset in (buffer, graph):
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(offset)
        vectors.append(builder.EndVector())
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddBuffers(builder, vectors[0])
    tflite.ModelAddSubgraphs(builder, vectors[1])
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    with pytest.raises(UnsupportedModelError, match="outside the file's structure"):
        read_model(bytes(builder.Output()))


def test_large_files_are_refused_before_they_are_read() -> None:
    with pytest.raises(UnsupportedModelError, match="at most 16777216"):
        read_model(bytes(4) + b"TFL3" + bytes(flatbuffer.MAX_FILE_BYTES))


def test_names_that_are_no_text_survive() -> None:
    record = random_file_model(2)
    named = replace(record, tensors=(replace(record.tensors[0], name="A" * 8), *record.tensors[1:]))
    data = flatbuffer.write(named).replace(b"A" * 8, b"\xff\xfe\x00\x80AAAA")
    assert read_model(data).inputs[0].name.endswith("AAAA")
