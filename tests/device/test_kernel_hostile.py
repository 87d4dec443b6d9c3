"""Damaged and hostile segment files on a device: a named error or a harmless run, and the device goes on.

FITA_HOSTILE_SEGMENTS sets how many hostile files each test feeds (400 by default), FITA_HOSTILE_SEED which.
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
from fita.tinyml.pack.layout import HEADER_BYTES, Kernel, Record, SegmentFile, content_digest, encode

FILES = int(os.environ.get("FITA_HOSTILE_SEGMENTS", "400"))
SEED = int(os.environ.get("FITA_HOSTILE_SEED", "0"))
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
STILL = (1, 1, 1, 1, 1), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)
BACK = (4, 1, 1, 1, 1), (-4, 0, 0, 0, 0), (0, 0, 0, 0, 0)
ONWARD = (4, 1, 1, 1, 1), (4, 0, 0, 0, 0), (0, 0, 0, 0, 0)
SUM = (0, 0, 64, 0, 64, 0, 4, 1, 1, 128, 128, 0, 0, 0, 0, 0, 0, 0, -128, 127)
RECORDS: dict[str, tuple[str, Record]] = {
    # On 64 bits, viper takes -4 for 4294967292.
    "a left operand that goes backwards": (
        "goes backwards",
        (Kernel.ELEMENTWISE, 42, *SUM, *BACK[0], *BACK[1], *STILL[1], *BACK[2]),
    ),
    "a right operand that goes backwards": (
        "goes backwards",
        (Kernel.ELEMENTWISE, 42, *SUM, *BACK[0], *STILL[1], *BACK[1], *BACK[2]),
    ),
    "a mean that goes backwards": (
        "goes backwards",
        (Kernel.MEAN, 27, 64, 0, 1, 1, 1, 1, 0, 0, 0, 0, *BACK[0], *BACK[1], *BACK[2]),
    ),
    # On 32 bits, -32766 rows of 90000 bytes are 1.3 GB ahead.
    "a pool far below its image": (
        "window beside the image",
        (Kernel.MAX_POOL, 19, 0, 90000, 1, 300, 300, 2, 1, 1, 1, 32767, 1, 1, 1, 0, 0, -128, 127),
    ),
    "a pool far above its image": (
        "window beside the image",
        (Kernel.MAX_POOL, 19, 0, 90000, 1, 300, 300, 1, 1, 1, 1, 1, 1, 1, 1, 32767, 0, -128, 127),
    ),
    # The largest of a row is known before the first byte is written: what is written over the rest may be larger.
    "a softmax over what it has still to read": (
        "overtakes its input",
        (Kernel.SOFTMAX, 12, 0, 4, 0, 1, 64, 0, 0, 0, 0, 0),
    ),
    # A byte again and again, for minutes.
    "a copy of more than there is": (
        "what is copied reaches beyond",
        (Kernel.COPY, 26, 0, 0, 0, 1, 2**28, *STILL[0][1:], *STILL[1], *STILL[1], *STILL[1]),
    ),
    "a mean of more than there is": (
        "what is summed reaches beyond",
        (Kernel.MEAN, 27, 0, 0, 65536, 0, 4096, 0, 0, 0, 0, 0, *STILL[0], *STILL[1], *STILL[1]),
    ),
    "more sums than any device adds": (
        "more work",
        (Kernel.ACCUMULATE, 11 + 8193, 0, 65536, 1, 0, 4, 0, -128, 127, 8193, *[0] * 8193),
    ),
}


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
    random = np.random.default_rng(10 * SEED + 1)
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
    random = np.random.default_rng(10 * SEED + 2)
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


def only(record: Record) -> bytes:
    """A file with nothing but this record, and memory enough for it."""
    return encode(
        SegmentFile(
            index=0, segments=1, model_digest=bytes(4), arena_bytes=262144, ram_bytes=300000,
            operators=(record,), edges=(), constants=bytes(1024),
        )
    )  # fmt: skip


@pytest.mark.parametrize("case", RECORDS)
def test_records_that_would_do_harm_are_refused(device: SegmentProcess, tmp_path: Path, case: str) -> None:
    reason, record = RECORDS[case]
    said = attempt(device, tmp_path / "hostile.fits", only(record))
    assert "SegmentError: record at word 0" in said
    assert reason in said


@pytest.mark.parametrize(
    "record",
    [
        (Kernel.ELEMENTWISE, 42, *SUM, *ONWARD[0], *ONWARD[1], *STILL[1], *ONWARD[2]),
        (Kernel.MEAN, 27, 64, 0, 1, 1, 1, 1, 0, 0, 0, 0, *ONWARD[0], *ONWARD[1], *ONWARD[2]),
        (Kernel.COPY, 26, 0, 64, 0, 4, *BACK[0], *BACK[1], *ONWARD[1], *BACK[2]),
        (Kernel.MAX_POOL, 19, 0, 90000, 1, 300, 300, 1, 1, 1, 1, 32767, 1, 1, 1, 0, 0, -128, 127),
        (Kernel.SOFTMAX, 12, 4, 0, 0, 1, 64, 0, 0, 0, 0, 0),
    ],
    ids=["sum", "mean", "copy backwards", "pool", "softmax"],
)
def test_their_harmless_neighbours_run(device: SegmentProcess, tmp_path: Path, record: Record) -> None:
    assert not attempt(device, tmp_path / "neighbour.fits", only(record))


def test_wild_headers_with_a_right_digest_do_no_harm(device: SegmentProcess, kind: Kind, tmp_path: Path) -> None:
    random = np.random.default_rng(10 * SEED + 3)
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
    random = np.random.default_rng(10 * SEED + 4)
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
