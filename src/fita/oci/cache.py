"""What registries have sent, on disk, by digest; and one download at a time of the same thing.

The folder may be deleted at any time. A full disk makes pulls slower, not impossible. The content used longest ago
goes first when the cache is over its limit.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog

from fita.oci.blob import BlobFolder, disk_errors, replace_file
from fita.oci.errors import IntegrityError, StoreError
from fita.oci.manifest import MAX_BLOB_BYTES, Content, digest_of
from fita.oci.reference import Reference

log = structlog.get_logger(__name__)

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Work that several callers want at once is done once, and all get its result or its error.

    When the caller whose turn it is gets cancelled, the next one does the work.
    """

    def __init__(self) -> None:
        self._flights: dict[object, asyncio.Future[T]] = {}

    async def run(self, key: object, work: Callable[[], Awaitable[T]]) -> T:
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait((flight,))
            if not flight.cancelled():
                return flight.result()
        return await self._lead(key, work)

    async def _lead(self, key: object, work: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            result = await work()
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # seen, also when nobody else waits
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            flight.cancel()
            del self._flights[key]


class Pin(msgspec.Struct, frozen=True):
    """What a reference meant when it was last asked for."""

    reference: str
    media_type: str
    digest: str


class ArtifactCache:
    """Content by digest and the digest that each reference had. All methods block; none raises for the disk."""

    def __init__(self, root: Path, *, limit_bytes: int) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self._blobs = BlobFolder(root, durable=False)

    def read(self, digest: str) -> bytes | None:
        """The content, or None. Damaged content is removed."""
        try:
            data = self._blobs.read(digest, limit_bytes=MAX_BLOB_BYTES)
        except IntegrityError as error:
            log.warning("damaged content removed from cache", digest=digest, error=error.message)
            with suppress(StoreError):
                self._blobs.discard(digest)
            return None
        except StoreError as error:
            log.warning("cache cannot be read", error=error.message)
            return None
        if data is not None:
            with suppress(OSError):
                os.utime(self._blobs.path_of(digest))
        return data

    def write(self, data: bytes) -> None:
        """Keep `data`, if the disk allows, and forget the oldest content beyond the limit."""
        try:
            self._blobs.write(data)
            self._evict()
        except StoreError as error:
            log.warning("cache cannot be written", error=error.message)

    def pinned(self, reference: Reference) -> Content | None:
        """What `reference` meant when it was last pinned, if that is still here."""
        try:
            pin = msgspec.json.decode(self._pin_path(reference).read_bytes(), type=Pin)
        except (OSError, msgspec.DecodeError):
            return None
        data = self.read(pin.digest)
        if pin.reference != str(reference) or data is None:
            return None
        return Content(pin.media_type, data)

    def pin(self, reference: Reference, content: Content) -> None:
        """Keep `content` and that `reference` means it."""
        self.write(content.data)
        pin = Pin(str(reference), content.media_type, content.digest)
        with suppress(StoreError):  # the content's own failure to be kept has been logged
            replace_file(self._pin_path(reference), msgspec.json.encode(pin), durable=False)

    def _pin_path(self, reference: Reference) -> Path:
        return self._root / "references" / f"{digest_of(str(reference).encode()).removeprefix('sha256:')}.json"

    def _evict(self) -> None:
        files = []
        for path in (self._root / "blobs" / "sha256").glob("*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        excess_bytes = sum(size for _, size, _ in files) - self._limit_bytes
        for _, size, path in sorted(files):
            if excess_bytes <= 0:
                return
            with disk_errors(path):
                path.unlink(missing_ok=True)
            excess_bytes -= size
