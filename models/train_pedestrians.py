"""Train `pedestrians`: is there a person in a 64x32 crop of a street camera?

``python -m models.train_pedestrians vtest.avi`` writes it in some minutes on one core. With weights beyond 600 kB
no single device of 512 kB holds it, while its activations fit 128 kB: it is there to be split.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
from keras import layers

from models import export, pedestrian_crops

SEED = 64
EPOCHS = 12
_BLOCKS = ((48, 1), (96, 2), (96, 1), (192, 2), (192, 1), (384, 2), (384, 1), (384, 1), (384, 1))
"""Channels and stride of each depthwise separable block."""


def model() -> Any:
    image = keras.Input((pedestrian_crops.HEIGHT, pedestrian_crops.WIDTH, 3))
    x = _normalized(layers.Conv2D(24, 3, strides=2, padding="same", use_bias=False)(image))
    for channels, stride in _BLOCKS:
        x = _normalized(layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
        x = _normalized(layers.Conv2D(channels, 1, use_bias=False)(x))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(2, activation="softmax")(x))


def _normalized(x: Any) -> Any:
    return layers.Activation("relu6")(layers.BatchNormalization(momentum=0.9)(x))


def main(video: Path) -> None:
    export.start(SEED)
    (train_x, train_y), (test_x, test_y) = pedestrian_crops.data(video, SEED)
    print(f"{len(train_x)} crops to train on, {len(test_x)} held out")
    network = model()
    steps = EPOCHS * -(-len(train_x) // 64)
    network.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    augmented = keras.Sequential(
        [layers.RandomFlip("horizontal", seed=SEED), layers.RandomBrightness(0.2, (0, 1), seed=SEED)]
    )
    inputs = keras.Input(train_x.shape[1:])
    trained = keras.Model(inputs, network(augmented(inputs)))
    trained.compile(optimizer=network.optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    trained.fit(train_x, train_y, batch_size=64, epochs=EPOCHS, verbose=2)
    export.save("pedestrians", network, train_x, (test_x, test_y), samples=6)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m models.train_pedestrians <vtest.avi>")
    main(Path(sys.argv[1]))
