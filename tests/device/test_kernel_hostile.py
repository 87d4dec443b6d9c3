"""Damaged and hostile segment files on a device: a named error or a harmless run, and the device goes on.

FITA_HOSTILE_SEGMENTS sets how many hostile files each test feeds (400 by default).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_case import Case, cases, hold_against_reference
from kernel_kind import KINDS, Kind

from fita.simulator.errors import SegmentProcessError
from fita.simulator.inference.process import SegmentProcess
from fita.tinyml.generate import ModelSize
from fita.tinyml.pack.layout import HEADER_BYTES, content_digest, encode

FILES = int(os.environ.get("FITA_HOSTILE_SEGMENTS", "400"))
HEAP_BYTES = 1 << 20
SIZE = ModelSize(operators=4, side=5, channels=4, elements=128)
WILD = (
    -(2**31),
    -65536,
    -129,
    -1,
    0,
    1,
    2,
    3,
    4,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**24,
    2**30,
    2**31 - 1,
)


@pytest.fixture(scope="module", params=["viper", "native", "viper on ARM", "native on ARM"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def device(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SegmentProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    kind.compile(folder)
    with kind.device(folder, HEAP_BYTES) as process:
        yield process


def all_cases(count: int) -> list[Case]:
    return [case for seed in range(count) for case in cases(seed, SIZE) if case.packed.file.operators]


def attempt(device: SegmentProcess, path: Path, data: bytes) -> str:
    """What the device says to a file: nothing when it loads and runs it."""
    path.write_bytes(data)
    said = ""
    try:
        device.load(0, path)
        device.run(0)
    except SegmentProcessError as error:
        said = error.message
    assert not said or "answers" in said, said
    return said


def test_damaged_files_are_refused(device: SegmentProcess, kind: Kind, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    found = all_cases(8)
    for _ in range(FILES):
        content = bytearray(found[int(random.integers(len(found)))].packed.data)
        if random.random() < 0.5:
            content = content[: int(random.integers(len(content)))]
        else:
            # The header's last words are reserved, but the digest covers them too.
            content[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
        said = attempt(device, tmp_path / "damaged.fits", bytes(content))
        assert "SegmentError" in said or "out of memory" in said, said
    hold_against_reference(device, tmp_path, found[0], kind.slack_bytes)


def test_wild_records_with_a_right_digest_do_no_harm(device: SegmentProcess, kind: Kind, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    found = all_cases(25)
    refused = 0
    for _ in range(FILES):
        file = found[int(random.integers(len(found)))].packed.file
        records = [list(record) for record in file.operators]
        record = records[int(random.integers(len(records)))]
        for _ in range(int(random.integers(1, 3))):
            record[int(random.integers(len(record)))] = int(random.choice(WILD))
        hostile = replace(file, operators=tuple(tuple(words) for words in records))
        refused += "record at word" in attempt(device, tmp_path / "hostile.fits", encode(hostile))
    assert refused > FILES / 4, "hardly anything was refused"
    hold_against_reference(device, tmp_path, found[0], kind.slack_bytes)


def test_wild_headers_with_a_right_digest_do_no_harm(device: SegmentProcess, kind: Kind, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    found = all_cases(8)
    for _ in range(FILES // 2):
        content = bytearray(found[int(random.integers(len(found)))].packed.data)
        place = int(random.integers(1, 15)) * 4
        wild = int(random.choice(WILD)) & 0xFFFFFFFF
        content[place : place + 4] = wild.to_bytes(4, "little")
        content[HEADER_BYTES - 32 : HEADER_BYTES] = content_digest(bytes(content))
        attempt(device, tmp_path / "hostile.fits", bytes(content))
    hold_against_reference(device, tmp_path, found[0], kind.slack_bytes)


def test_wild_edges_with_a_right_digest_are_refused(device: SegmentProcess, kind: Kind, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    found = [case for case in all_cases(8) if case.packed.file.edges]
    for _ in range(FILES // 2):
        file = found[int(random.integers(len(found)))].packed.file
        edges = list(file.edges)
        at = int(random.integers(len(edges)))
        words = list(edges[at].words)
        # Not the strides: where a loop has one step, any will do.
        place = int(random.choice([0, 1, *range(2, 7), *range(12, 19)]))
        words[place] = int(random.choice([word for word in WILD if word != words[place]]))
        edges[at] = replace(edges[at], words=tuple(words))
        said = attempt(device, tmp_path / "hostile.fits", encode(replace(file, edges=tuple(edges))))
        if place > 0:
            assert "record at word" in said
    hold_against_reference(device, tmp_path, found[0], kind.slack_bytes)
