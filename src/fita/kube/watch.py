"""What a watch delivers, and how its endless answer is cut into lines. No I/O.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

import msgspec

from fita.kube.errors import ConnectionFailedError

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

MAX_LINE_BYTES = 16 * 1024 * 1024
"""etcd keeps objects of 1.5 MB at most; as JSON and with defaults one may be some times larger."""

_T = TypeVar("_T")


class WatchEvent(NamedTuple, Generic[_T]):
    """One change. `object` is its state after the change, for DELETED its last state.

    Of a BOOKMARK only ``metadata.resourceVersion`` means anything: every change up to it has been delivered.
    """

    type: EventType
    object: _T


class EventEnvelope(msgspec.Struct, frozen=True):
    """One line of the answer; ERROR carries a Status."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class LineSplitter:
    """Chunks of any size in, complete lines out. Raises `ConnectionFailedError` for a line without an end."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._rest = bytearray()
        self._max_line_bytes = max_line_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends; empty lines are left out."""
        head, found, tail = chunk.rpartition(b"\n")
        if not found:
            self._rest += chunk
            self._check()
            return []
        lines = (bytes(self._rest) + head).split(b"\n")
        self._rest = bytearray(tail)
        self._check()
        return [line for line in lines if line]

    def _check(self) -> None:
        if len(self._rest) > self._max_line_bytes:
            raise ConnectionFailedError(
                f"the API server sends an object of more than {self._max_line_bytes} bytes",
                hint="look for a proxy in between that answers instead of it",
            )
