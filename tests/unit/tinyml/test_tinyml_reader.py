"""What the Reader accepts, what it makes of it, and what it refuses with which words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.tinyml.decode import flatbuffer
from fita.tinyml.decode.model_file import FileModel, FileOperator, FileTensor
from fita.tinyml.draw.model_builder import ModelBuilder, Quantization, Value
from fita.tinyml.errors import ModelFormatError, UnsupportedModelError
from fita.tinyml.generate import OPERATORS, random_file_model, random_model
from fita.tinyml.graph import Activation, AveragePool2D, Conv2D, Graph, Mean, StridedSlice, Window
from fita.tinyml.quantization import Clamp
from fita.tinyml.reader import SUPPORTED_OPERATORS, graph_of, read_model

PLAIN = Quantization(scale=0.5, zero_point=-3)
PROBABILITY = Quantization(scale=1 / 256, zero_point=-128)
FLOAT = FileTensor(name="f", shape=(1, 4), dtype="float32")


def read(model: FileModel) -> Graph:
    return read_model(flatbuffer.write(model))


def conv(
    *,
    shape: tuple[int, ...] = (1, 5, 6, 2),
    output: tuple[int, ...] = (1, 5, 6, 4),
    weights: tuple[int, ...] = (4, 3, 3, 2),
    scales: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4),
    axis: int = 0,
    name: str = "CONV_2D",
    **options: int,
) -> FileModel:
    builder = ModelBuilder()
    image = builder.input(shape, PLAIN)
    content = np.arange(np.prod(weights), dtype=np.int8).reshape(weights)
    numbers = [image.number, builder.weights(content, scales, axis)]
    defaults = {"StrideH": 1, "StrideW": 1, "Padding": 0}
    value = builder.operator(name, numbers, shape=output, quantization=PLAIN, **{**defaults, **options})
    return builder.finish([value])


def one(
    name: str,
    shape: tuple[int, ...] = (1, 4),
    *,
    output: tuple[int, ...] | None = None,
    quantization: Quantization | None = PLAIN,
    constants: tuple[Any, ...] = (),
    **options: float,
) -> FileModel:
    """A model of one operator over one input and some int32 constants."""
    builder = ModelBuilder()
    fed = builder.input(shape, PLAIN)
    numbers = [
        fed.number,
        *(builder.constant(np.asarray(content, dtype=np.int32)).number for content in constants),
    ]
    value = builder.operator(name, numbers, shape=output or shape, quantization=quantization, **options)
    return builder.finish([value])


def pool_of(height: int, width: int) -> dict[str, float]:
    return {"StrideH": 1, "StrideW": 1, "FilterHeight": height, "FilterWidth": width}


def changed(model: FileModel, number: int, **fields: Any) -> FileModel:
    tensors = list(model.tensors)
    tensors[number] = replace(tensors[number], **fields)
    return replace(model, tensors=tuple(tensors))


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_records_survive_writing_and_reading(seed: int) -> None:
    model = random_file_model(seed)
    once = flatbuffer.read(flatbuffer.write(model))
    assert (once.tensors, once.inputs, once.outputs) == (model.tensors, model.inputs, model.outputs)
    for found, wanted in zip(once.operators, model.operators, strict=True):
        assert (found.name, found.inputs, found.outputs) == (wanted.name, wanted.inputs, wanted.outputs)
        assert {**found.options, **wanted.options} == found.options
    assert flatbuffer.read(flatbuffer.write(once)) == once


def test_generated_models_cover_every_operator() -> None:
    met: set[str] = set()
    for seed in range(150):
        met |= {operator.name for operator in random_file_model(seed).operators}
    assert met == set(SUPPORTED_OPERATORS) == {*OPERATORS, "DEQUANTIZE"}


def test_same_seed_same_bytes() -> None:
    assert random_model(7) == random_model(7) != random_model(8)


def test_graph_names_its_file() -> None:
    data = random_model(1)
    graph = read_model(data, name="porch")
    assert graph.name == "porch"
    assert graph.digest == hashlib.sha256(data).hexdigest()


def test_constants_share_the_memory_of_the_file() -> None:
    data = flatbuffer.write(conv())
    operator = read_model(data).operators[0]
    assert isinstance(operator, Conv2D)
    assert np.shares_memory(operator.weights.values, np.frombuffer(data, dtype=np.int8))
    assert not operator.weights.values.flags.writeable


def test_convolution_is_resolved() -> None:
    model = conv(
        shape=(1, 7, 8, 2), output=(1, 4, 3, 4), StrideH=2, StrideW=3, DilationWFactor=2, FusedActivationFunction=3
    )
    operator = read(model).operators[0]
    assert isinstance(operator, Conv2D)
    assert operator.window == Window(
        height=3, width=3, stride_height=2, stride_width=3, dilation_width=2,
        pad_top=1, pad_bottom=1, pad_left=1, pad_right=2,
    )  # fmt: skip
    assert operator.activation is Activation.RELU6
    assert operator.requantization.clamp == Clamp(minimum=-3, maximum=9)
    assert operator.requantization.multipliers.shape == (4,)
    assert operator.bias is None
    assert operator.macs == 4 * 3 * 4 * 3 * 3 * 2


def test_one_scale_is_expanded_to_all_channels() -> None:
    operator = read(conv(scales=(0.25,))).operators[0]
    assert isinstance(operator, Conv2D)
    assert operator.requantization.multipliers.tolist() == [2**30] * 4
    assert operator.requantization.shifts.tolist() == [-1] * 4


def test_negative_axes_and_masks_are_resolved() -> None:
    mean = read(one("MEAN", (1, 3, 4, 5), output=(1, 5), constants=([-2, 1],))).operators[0]
    assert isinstance(mean, Mean)
    assert mean.axes == (1, 2)
    assert not mean.keep_dims
    limits = ([9, -1, 2], [0, -9, 0], [1, -2, 1])
    options = {"BeginMask": 1, "EndMask": 3, "ShrinkAxisMask": 4}
    sliced = read(one("STRIDED_SLICE", (2, 5, 4), output=(2, 3), constants=limits, **options)).operators[0]
    assert isinstance(sliced, StridedSlice)
    assert (sliced.starts, sliced.counts, sliced.strides) == ((0, 4, 2), (2, 3, 1), (1, -2, 1))


def test_skip_connections_give_producers_and_consumers() -> None:
    builder = ModelBuilder()
    fed = builder.input((1, 4), PLAIN)
    first = builder.operator(
        "TANH", [fed.number], shape=(1, 4), quantization=Quantization(scale=1 / 128, zero_point=0)
    )
    total = builder.operator("ADD", [fed.number, first.number], shape=(1, 4), quantization=PLAIN)
    graph = read(builder.finish([total]))
    assert graph.consumers[graph.inputs[0]] == (0, 1)
    assert graph.producers == {graph.operators[0].output: 0, graph.operators[1].output: 1}


REFUSED: dict[str, tuple[Callable[[], FileModel], str]] = {
    "operator": (lambda: one("GELU"), r"GELU \(operator 0\): FITA does not run .* \(build the model from ADD"),
    "float": (lambda: one("TANH", quantization=None), "the output is float32, FITA runs int8 .*full int8"),
    "int16": (lambda: changed(one("RELU"), 0, dtype="int16"), "its type is int16"),
    "unknown type": (lambda: changed(one("RELU"), 0, dtype="int4"), r"tensor 0 \('activation_0'\): the type int4"),
    "open shape": (lambda: changed(one("RELU"), 0, shape=(1, -1)), "its shape is open .*fixed shapes"),
    "no elements": (lambda: changed(one("RELU"), 0, shape=(1, 0)), "it has no elements"),
    "huge tensor": (lambda: one("RELU", (1, 10_000, 10_000)), "100000000 bytes, at most"),
    "rank": (lambda: one("RELU", (1,) * 6), "6 dimensions, at most 5"),
    "state": (lambda: changed(one("RELU"), 0, is_variable=True), "keeps state"),
    "batch": (lambda: conv(shape=(2, 5, 6, 2)), "a batch of 2 .*batch 1"),
    "groups": (lambda: conv(weights=(4, 3, 3, 1)), "a grouped convolution"),
    "activation": (lambda: conv(FusedActivationFunction=4), "fused activation number 4"),
    "weights' axis": (lambda: conv(weights=(4, 4, 3, 2), axis=1), "not quantised along their output channels"),
    "weights' zero": (lambda: changed(conv(), 1, zero_points=(0, 0, 1, 0)), "zero point other than 0"),
    "weights' type": (lambda: changed(conv(), 1, dtype="uint8"), "weights are uint8"),
    "no constant weights": (lambda: changed(conv(), 1, data=None), "weights are computed while running"),
    "scales far apart": (lambda: conv(scales=(1e12,)), "needs a shift of"),
    "shuffled": (lambda: dense(WeightsFormat=1), "shuffled weights"),
    "pool rescales": (
        lambda: one("MAX_POOL_2D", (1, 2, 2, 1), quantization=PROBABILITY, **pool_of(1, 1)),
        "differ in scale or zero point",
    ),
    "pool window": (
        lambda: one("AVERAGE_POOL_2D", (1, 2, 2, 1), **pool_of(4, 1)),
        "a window of 4x1 over 2x2",
    ),
    "softmax depth": (lambda: one("SOFTMAX", (1, 512), quantization=PROBABILITY, Beta=1.0), "more than 511"),
    "softmax scale": (lambda: one("SOFTMAX", Beta=1.0), "scale other than 1/256"),
    "softmax beta": (lambda: one("SOFTMAX", quantization=PROBABILITY, Beta=1e-9), "too small for TFLite Micro"),
    "logistic": (lambda: one("LOGISTIC"), "zero point other than -128"),
    "relu6 rescales": (lambda: one("RELU6", quantization=PROBABILITY), "differ in scale"),
    "three axes": (lambda: one("MEAN", (1, 2, 3, 4), output=(1,), constants=([1, 2, 3],)), "the mean over 3 axes"),
    "ellipsis": (
        lambda: one("STRIDED_SLICE", constants=([0, 0], [1, 4], [1, 1]), EllipsisMask=1), "an ellipsis",
    ),
    "many parts": (lambda: concatenation(11), "11 inputs, TFLite Micro takes 10 .*two steps"),
    "wide sums": (lambda: dense(depth=70_000, content=-128), "sums may leave 32 bits"),
}  # fmt: skip


def dense(depth: int = 4, content: int = 1, **options: int) -> FileModel:
    builder = ModelBuilder()
    fed = builder.input((1, depth), Quantization(scale=0.5, zero_point=127))
    weights = builder.weights(np.full((2, depth), content, dtype=np.int8), (0.1,), 0)
    return builder.finish(
        [builder.operator("FULLY_CONNECTED", [fed.number, weights], shape=(1, 2), quantization=PLAIN, **options)]
    )


def concatenation(count: int) -> FileModel:
    builder = ModelBuilder()
    fed = [builder.input((1, 2), PLAIN) for _ in range(count)]
    numbers = [value.number for value in fed]
    return builder.finish(
        [builder.operator("CONCATENATION", numbers, shape=(1, 2 * count), quantization=PLAIN, Axis=1)]
    )


@pytest.mark.parametrize("case", REFUSED)
def test_unsupported_models_are_refused_with_place_and_way_out(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(UnsupportedModelError, match=words):
        read(make())


def swapped_operators() -> FileModel:
    builder = ModelBuilder()
    fed = builder.input((1, 4), PLAIN)
    first = builder.operator("RELU", [fed.number], shape=(1, 4), quantization=PLAIN)
    second = builder.operator("RELU", [first.number], shape=(1, 4), quantization=PLAIN)
    model = builder.finish([second])
    return replace(model, operators=model.operators[::-1])


def with_operator(model: FileModel, **fields: Any) -> FileModel:
    return replace(model, operators=(replace(model.operators[0], **fields),))


CONTRADICTIONS: dict[str, tuple[Callable[[], FileModel], str]] = {
    "order": (swapped_operators, r"reads tensor 1 \('activation_1'\) before that is computed"),
    "computed twice": (
        lambda: replace(one("RELU"), operators=one("RELU").operators * 2), "computes tensor 1 .* again",
    ),
    "into its input": (lambda: with_operator(one("RELU"), outputs=(0,)), "computes tensor 0 .* again"),
    "no such tensor": (lambda: with_operator(one("RELU"), inputs=(9,)), "tensor 9 of 2 does not exist"),
    "missing operand": (lambda: with_operator(one("RELU"), inputs=(-1,)), "input 0 is missing"),
    "no outputs": (lambda: with_operator(one("RELU"), outputs=()), "0 outputs where one belongs"),
    "no graph outputs": (lambda: replace(one("RELU"), outputs=()), "has no output"),
    "output twice": (lambda: replace(one("RELU"), outputs=(1, 1)), "or one twice"),
    "never computed": (lambda: replace(conv(), outputs=(0, 2), inputs=()), "has no input"),
    "no operators": (lambda: replace(one("RELU"), operators=(), outputs=(0,)), "no operators"),
    "constant input": (lambda: changed(one("RELU"), 0, data=b"1234"), "it is constant"),
    "unknown": (lambda: replace(one("RELU"), outputs=(1, 2), tensors=(*one("RELU").tensors, FLOAT)), "never"),
    "output with content": (lambda: changed(conv(), 2, data=bytes(120)), "its output has content already"),
    "short content": (lambda: changed(conv(), 1, data=bytes(71)), "71 bytes of content where its shape needs 72"),
    "scale": (lambda: changed(one("RELU"), 0, scales=(-1.0,)), "not a positive number"),
    "infinite scale": (lambda: changed(one("RELU"), 0, scales=(float("inf"),)), "not a positive number"),
    "zero point": (lambda: changed(one("RELU"), 0, zero_points=(128,)), "zero point outside int8"),
    "zero points": (lambda: changed(one("RELU"), 0, zero_points=(0, 0)), "1 scales but 2 zero points"),
    "scales": (lambda: changed(conv(), 1, scales=(1.0,) * 3, zero_points=(0,) * 3), "3 scales do not fit axis 0"),
    "stride": (lambda: conv(StrideH=0), "strides"),
    "padding": (lambda: conv(Padding=7), "padding mode 7"),
    "height": (lambda: conv(output=(1, 6, 6, 4)), "axis 1 of the output is 6 where 5 belong"),
    "channels": (lambda: conv(output=(1, 5, 6, 3)), "4 channels belong"),
    "multiplier": (
        lambda: conv(name="DEPTHWISE_CONV_2D", weights=(1, 3, 3, 4), axis=3, DepthMultiplier=3), "depth mult",
    ),
    "elements": (lambda: one("RESHAPE", output=(1, 5)), "4 elements become 5"),
    "permutation": (lambda: one("TRANSPOSE", constants=([0, 0],)), "no order of 2 axes"),
    "axis": (lambda: one("MEAN", constants=([2],)), r"axes \[2\] of 2 dimensions"),
    "paddings": (lambda: one("PAD", constants=([[0, 0], [0, -1]],)), "paddings"),
    "slice": (lambda: one("STRIDED_SLICE", constants=([0, 4], [1, 4], [1, 1])), "an empty slice of axis 1"),
    "index": (
        lambda: one("STRIDED_SLICE", output=(1,), constants=([0, 4], [1, 4], [1, 1]), ShrinkAxisMask=2),
        "index 4 of axis 1, which has 4",
    ),
    "alpha": (lambda: one("LEAKY_RELU", Alpha=float("nan")), "Alpha is nan"),
    "parts": (lambda: with_operator(concatenation(2), inputs=(0,)), "fill 2 of the output's 4"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions_are_named(case: str) -> None:
    make, words = CONTRADICTIONS[case]
    with pytest.raises(ModelFormatError, match=words):
        read(make())


def test_broadcasting_needs_shapes_that_go_together() -> None:
    def add(first: tuple[int, ...], second: tuple[int, ...], output: tuple[int, ...]) -> Graph:
        builder = ModelBuilder()
        numbers = [builder.input(shape, PLAIN).number for shape in (first, second)]
        value: Value = builder.operator("ADD", numbers, shape=output, quantization=PLAIN)
        return read(builder.finish([value]))

    assert add((1, 3, 1), (4,), (1, 3, 4)).operators[0].output.shape == (1, 3, 4)
    with pytest.raises(ModelFormatError, match="do not go together"):
        add((1, 3), (4,), (1, 3))
    with pytest.raises(ModelFormatError, match=r"output \[1, 3\] where \[1, 3, 4\] belongs"):
        add((1, 3, 1), (4,), (1, 3))
    with pytest.raises(UnsupportedModelError, match="more than 4 dimensions"):
        add((1, 1, 1, 3, 1), (4,), (1, 1, 1, 3, 4))


def test_average_pool_keeps_its_padding_apart() -> None:
    model = one("AVERAGE_POOL_2D", (1, 3, 3, 1), **pool_of(2, 2))
    operator = read(model).operators[0]
    assert isinstance(operator, AveragePool2D)
    assert (operator.window.pad_top, operator.window.pad_bottom) == (0, 1)


def test_custom_operators_are_named() -> None:
    record = FileOperator(name="CUSTOM MyLayer", inputs=(0,), outputs=(1,))
    model = replace(one("RELU"), operators=(record,))
    with pytest.raises(UnsupportedModelError, match=r"CUSTOM MyLayer \(operator 0\)"):
        graph_of(model, name="m", digest="")


def test_custom_operators_without_a_name_say_so() -> None:
    model = replace(one("RELU"), operators=(FileOperator(name="CUSTOM", inputs=(0,), outputs=(1,)),))
    with pytest.raises(UnsupportedModelError, match=r"CUSTOM without a name \(operator 0\)"):
        read(model)


def test_a_model_that_is_cut_off_is_damaged_in_our_own_words() -> None:
    whole = flatbuffer.write(conv())
    for size in range(8, len(whole) - 64, 16):
        with pytest.raises(ModelFormatError) as caught:
            read_model(whole[:size])
        assert "unpack" not in caught.value.message
        assert "buffer" not in caught.value.message
