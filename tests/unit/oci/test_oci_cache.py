from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from fita.oci.cache import ArtifactCache, SingleFlight
from fita.oci.manifest import MEDIA_TYPE_MANIFEST, Content, digest_of
from fita.oci.reference import parse_reference

REFERENCE = parse_reference("ghcr.io/a/b:1")


def cached(cache: ArtifactCache, data: bytes) -> bool:
    return cache.read(digest_of(data)) == data


def blob_path(root: Path, data: bytes) -> Path:
    return root / "blobs" / "sha256" / digest_of(data).removeprefix("sha256:")


def test_keeps_content_and_what_references_meant(tmp_path: Path) -> None:
    content = Content(MEDIA_TYPE_MANIFEST, b"manifest")
    ArtifactCache(tmp_path, limit_bytes=1000).pin(REFERENCE, content)
    cache = ArtifactCache(tmp_path, limit_bytes=1000)
    assert cache.pinned(REFERENCE) == content
    assert cache.read(content.digest) == b"manifest"
    assert cache.pinned(parse_reference("ghcr.io/a/b:2")) is None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, limit_bytes=250)
    contents = [bytes([number]) * 100 for number in range(3)]
    for age, data in enumerate(contents[:2]):
        cache.write(data)
        os.utime(blob_path(tmp_path, data), (age, age))
    assert cached(cache, contents[0])  # used now, so the other one is the oldest
    cache.write(contents[2])
    assert [cached(cache, data) for data in contents] == [True, False, True]
    assert sum(path.stat().st_size for path in (tmp_path / "blobs" / "sha256").iterdir()) <= 250


def test_a_pin_whose_content_is_gone_means_nothing(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, limit_bytes=10)
    cache.pin(REFERENCE, Content(MEDIA_TYPE_MANIFEST, b"manifest"))
    cache.write(b"0123456789")
    assert cache.pinned(REFERENCE) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"reference": 1}', b"\xff"])
def test_a_damaged_pin_means_nothing(tmp_path: Path, data: bytes) -> None:
    cache = ArtifactCache(tmp_path, limit_bytes=1000)
    cache.pin(REFERENCE, Content(MEDIA_TYPE_MANIFEST, b"manifest"))
    (pin,) = (tmp_path / "references").iterdir()
    pin.write_bytes(data)
    assert cache.pinned(REFERENCE) is None


def test_damaged_content_is_removed(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, limit_bytes=1000)
    cache.write(b"content")
    blob_path(tmp_path, b"content").write_bytes(b"contend")
    assert cache.read(digest_of(b"content")) is None
    assert not blob_path(tmp_path, b"content").exists()
    cache.write(b"content")
    assert cached(cache, b"content")


def test_the_disk_never_stops_a_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = ArtifactCache(tmp_path, limit_bytes=1000)
    monkeypatch.setattr(Path, "replace", refuse)
    cache.write(b"content")
    cache.pin(REFERENCE, Content(MEDIA_TYPE_MANIFEST, b"manifest"))
    assert cache.read(digest_of(b"content")) is None
    assert not list(tmp_path.rglob(".partial-*"))
    (tmp_path / "file").write_text("")
    nowhere = ArtifactCache(tmp_path / "file", limit_bytes=1000)
    nowhere.write(b"content")
    assert nowhere.read(digest_of(b"content")) is None


def test_the_folder_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    import shutil

    cache = ArtifactCache(tmp_path / "cache", limit_bytes=1000)
    cache.write(b"content")
    shutil.rmtree(tmp_path / "cache")
    assert cache.read(digest_of(b"content")) is None
    cache.write(b"content")
    assert cached(cache, b"content")


async def test_the_same_work_is_done_once() -> None:
    flights: SingleFlight[int] = SingleFlight()
    go = asyncio.Event()
    calls = []

    async def work() -> int:
        calls.append(1)
        await go.wait()
        return len(calls)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.run("key", work)) for _ in range(20)]
        other = group.create_task(flights.run("other", work))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go.set()
    assert [task.result() for task in tasks] == [2] * 20
    assert other.result() == 2
    assert await flights.run("key", work) == 3  # nothing is remembered


async def test_all_get_the_error_of_the_one_who_worked() -> None:
    flights: SingleFlight[int] = SingleFlight()
    calls = []

    async def work() -> int:
        calls.append(1)
        await asyncio.sleep(0)
        raise ValueError("refused")

    async def attempt() -> str:
        try:
            await flights.run("key", work)
        except ValueError as error:
            return str(error)
        return ""

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt()) for _ in range(5)]
    assert [task.result() for task in tasks] == ["refused"] * 5
    assert len(calls) == 1


async def test_when_the_working_caller_is_cancelled_the_next_one_works() -> None:
    flights: SingleFlight[str] = SingleFlight()
    started: list[str] = []
    go = asyncio.Event()

    def work_of(name: str):  # type: ignore[no-untyped-def]
        async def work() -> str:
            started.append(name)
            await go.wait()
            return name

        return work

    async with asyncio.TaskGroup() as group:
        first = group.create_task(flights.run("key", work_of("first")))
        others = [group.create_task(flights.run("key", work_of(name))) for name in ("second", "third")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        while len(started) < 2:
            await asyncio.sleep(0)
        go.set()
    assert first.cancelled()
    assert started == ["first", "second"]
    assert [task.result() for task in others] == ["second", "second"]
