"""From a trained Keras model to a file of this folder: int8 conversion, measured accuracy, samples.

Accuracy is what TFLite Micro gives for the converted file on data that training never saw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tflite_micro import runtime

FOLDER = Path(__file__).parent
ARENA_BYTES = 4 << 20
_CALIBRATION_SAMPLES = 200

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def start(seed: int) -> None:
    """Make a training run repeatable: one seed for everything, one thread, deterministic kernels."""
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def save(name: str, model: Any, train: Images, test: tuple[Images, Labels], samples: int) -> None:
    """Write `name`.tflite and `name`.npz, and print a line for the README.

    The .npz holds `inputs` (int8), `outputs` (TFLite Micro's, int8) and `labels` of some test images.
    """
    data = _convert(model, train)
    (FOLDER / f"{name}.tflite").write_bytes(data)
    images, labels = test
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=ARENA_BYTES)
    inputs = _quantize(interpreter, images)
    outputs = _run(interpreter, inputs)
    accuracy = float((outputs.argmax(axis=1) == labels).mean())
    reference = float((model.predict(images, verbose=0).argmax(axis=1) == labels).mean())
    chosen = np.linspace(0, len(images) - 1, samples).astype(int)
    np.savez_compressed(
        FOLDER / f"{name}.npz", inputs=inputs[chosen], outputs=outputs[chosen], labels=labels[chosen]
    )
    print(
        f"{name}: {len(data)} bytes, int8 accuracy {accuracy:.4f} on {len(images)} held-out images"
        f" (float {reference:.4f})"
    )


def _convert(model: Any, train: Images) -> bytes:
    """Full int8 quantisation with a fixed batch of 1, calibrated on training images."""
    shape = (1, *train.shape[1:])
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    frozen = convert_variables_to_constants_v2(concrete)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    step = max(1, len(train) // _CALIBRATION_SAMPLES)
    converter.representative_dataset = lambda: ([image[None]] for image in train[::step])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _quantize(interpreter: runtime.Interpreter, images: Images) -> npt.NDArray[np.int8]:
    quantization = interpreter.get_input_details(0)["quantization_parameters"]
    stored = np.round(images / quantization["scales"][0]) + quantization["zero_points"][0]
    return np.asarray(np.clip(stored, -128, 127), dtype=np.int8)


def _run(interpreter: runtime.Interpreter, inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    outputs = []
    for image in inputs:
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0])
    return np.stack(outputs)
