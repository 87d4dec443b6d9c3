"""Crops of a street video, with and without a pedestrian, labelled by OpenCV's people detector.

The video is `vtest.avi` of Debian's package opencv-doc; the detector's weights come with OpenCV. The last part of
the video is held out, with a gap before it, so that no person walks from training into the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.export import Images, Labels

HEIGHT, WIDTH = 64, 32
FRAME_STEP = 2
HELD_OUT_FROM = 0.8
GAP_FRAMES = 20
PERSON_CONFIDENCE = 0.6
EMPTY_CONFIDENCE = -0.2
"""A detection above the first is a person; a crop without one touches no detection above the second."""
NEGATIVES_PER_FRAME = 16
JITTERS_PER_PERSON = 3
_BOX_MARGIN = 0.12
"""The detector's boxes are wider than the people in them."""

Frame = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


def data(video: Path, seed: int) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Training and held-out crops, HEIGHTxWIDTHx3 in 0..1, label 1 for a person."""
    random = np.random.default_rng(seed)
    train: list[tuple[Frame, int]] = []
    test: list[tuple[Frame, int]] = []
    train_places: list[Box] = []
    test_places: list[Box] = []
    for position, total, frame in _frames(video):
        if position >= HELD_OUT_FROM * total:
            test.extend(_crops(frame, random, places=test_places, jitters=1))
        elif position < HELD_OUT_FROM * total - GAP_FRAMES:
            train.extend(_crops(frame, random, places=train_places, jitters=JITTERS_PER_PERSON))
    return _arrays(_balanced(train, random)), _arrays(_balanced(test, random))


def _frames(video: Path) -> Iterator[tuple[int, int, Frame]]:
    capture = cv2.VideoCapture(str(video))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if not capture.isOpened() or total < 100:
        raise SystemExit(f"{video} is not the video vtest.avi of the Debian package opencv-doc")
    for position in range(total):
        read, frame = capture.read()
        if not read:
            return
        if position % FRAME_STEP == 0:
            yield position, total, np.asarray(frame, dtype=np.uint8)


def _detector() -> Any:
    cv2.setNumThreads(1)  # with more, the order of what it finds changes from run to run
    detector = cv2.HOGDescriptor()
    detector.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
    return detector


DETECTOR = _detector()


def _crops(
    frame: Frame, random: np.random.Generator, *, places: list[Box], jitters: int
) -> Iterator[tuple[Frame, int]]:
    """The people of a frame, and as many empty places. `places` gathers where people were in other frames.

    Half of the empty places are such, now left: the background alone must not tell the two kinds apart.
    """
    found, confidences = DETECTOR.detectMultiScale(
        frame, hitThreshold=EMPTY_CONFIDENCE, winStride=(8, 8), scale=1.05
    )
    boxes: list[Box] = [(int(x), int(y), int(w), int(h)) for x, y, w, h in found]
    for number in range(NEGATIVES_PER_FRAME):
        left = number % 2 == 0 and places
        box = places[int(random.integers(len(places)))] if left else _random_box(frame, random)
        if not any(_touch(box, other) for other in boxes):
            yield _cut(frame, box), 0
    for box, confidence in zip(boxes, np.ravel(confidences), strict=True):
        if confidence >= PERSON_CONFIDENCE:
            places.append(_jittered(box, random))
            for _ in range(jitters):
                yield _cut(frame, _jittered(box, random)), 1


def _jittered(box: Box, random: np.random.Generator) -> Box:
    x, y, width, height = box
    x, width = round(x + _BOX_MARGIN * width), round(width * (1 - 2 * _BOX_MARGIN))
    y, height = round(y + _BOX_MARGIN * height / 2), round(height * (1 - _BOX_MARGIN))
    move_x, move_y = random.uniform(-0.08, 0.08, 2)
    grow = random.uniform(0.95, 1.1)
    return round(x + move_x * width), round(y + move_y * height), round(width * grow), round(height * grow)


def _random_box(frame: Frame, random: np.random.Generator) -> Box:
    height = int(random.integers(90, 260))
    width = height // 2
    x = int(random.integers(0, frame.shape[1] - width))
    return x, int(random.integers(0, frame.shape[0] - height)), width, height


def _touch(first: Box, second: Box) -> bool:
    apart_x = first[0] >= second[0] + second[2] or second[0] >= first[0] + first[2]
    return not (apart_x or first[1] >= second[1] + second[3] or second[1] >= first[1] + first[3])


def _cut(frame: Frame, box: Box) -> Frame:
    x, y, width, height = box
    top, left = max(y, 0), max(x, 0)
    cut = frame[top : max(y + height, top + 8), left : max(x + width, left + 8)]
    return np.asarray(cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _balanced(crops: list[tuple[Frame, int]], random: np.random.Generator) -> list[tuple[Frame, int]]:
    """As many crops of the one kind as of the other, in random order."""
    by_label = [[crop for crop in crops if crop[1] == label] for label in (0, 1)]
    count = min(map(len, by_label))
    kept = [group[int(place)] for group in by_label for place in random.permutation(len(group))[:count]]
    return [kept[int(place)] for place in random.permutation(len(kept))]


def _arrays(crops: list[tuple[Frame, int]]) -> tuple[Images, Labels]:
    images = np.stack([crop for crop, _ in crops]).astype(np.float32) / 255.0
    return images, np.asarray([label for _, label in crops], dtype=np.int64)
