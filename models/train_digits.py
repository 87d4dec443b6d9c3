"""Train `digits` (plain) and `digits_residual` (with skip connections) on scikit-learn's 8x8 handwritten digits.

``python -m models.train_digits`` writes both; about two minutes on one core.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from models import export
from models.export import Images, Labels

SEED = 8
HELD_OUT = 0.25
RESIDUAL_SIDE = 16


def data() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Training and held-out images, 8x8x1 in 0..1; every class is held out by the same share."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[..., None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=HELD_OUT, random_state=SEED, stratify=digits.target
    )
    return (train_x, train_y), (test_x, test_y)


def shifted(images: Images, labels: Labels) -> tuple[Images, Labels]:
    """Every image five times: as it is and moved by one pixel each way."""
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    moved = [np.roll(images, move, axis=(1, 2)) for move in moves]
    return np.concatenate(moved), np.tile(labels, len(moves))


def upscaled(images: Images) -> Images:
    factor = RESIDUAL_SIDE // images.shape[1]
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def plain_model() -> Any:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(26, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def residual_model() -> Any:
    image = keras.Input((RESIDUAL_SIDE, RESIDUAL_SIDE, 1))
    x = _normalized(layers.Conv2D(16, 3, padding="same", use_bias=False)(image))
    for channels, stride in ((16, 1), (32, 2), (40, 2), (40, 1)):
        x = _residual_block(x, channels, stride)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def _normalized(x: Any, activation: str | None = "relu") -> Any:
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def _residual_block(x: Any, channels: int, stride: int) -> Any:
    """Two 3x3 convolutions beside the input, which a 1x1 convolution adapts where its shape changes."""
    y = _normalized(layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x))
    y = _normalized(layers.Conv2D(channels, 3, padding="same", use_bias=False)(y), activation=None)
    if stride != 1 or x.shape[-1] != channels:
        x = _normalized(layers.Conv2D(channels, 1, strides=stride, use_bias=False)(x), activation=None)
    return layers.Activation("relu")(layers.Add()([x, y]))


def fit(model: Any, images: Images, labels: Labels, epochs: int) -> None:
    steps = epochs * -(-len(images) // 64)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        loss="sparse_categorical_crossentropy",
    )
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=2)


def main() -> None:
    export.start(SEED)
    (train_x, train_y), (test_x, test_y) = data()
    images, labels = shifted(train_x, train_y)
    plain = plain_model()
    fit(plain, images, labels, epochs=15)
    export.save("digits", plain, train_x, (test_x, test_y), samples=8)
    residual = residual_model()
    fit(residual, upscaled(images), labels, epochs=8)
    export.save("digits_residual", residual, upscaled(train_x), (upscaled(test_x), test_y), samples=8)


if __name__ == "__main__":
    main()
