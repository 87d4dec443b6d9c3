"""The log file of a background process: written by that process, kept small and read by whoever watches it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fita.base.disk import PRIVATE_FILE, disk_errors

LIMIT_BYTES = 8 << 20
TAIL_BYTES = 64 << 10

# How the parts say what ends them: klog's fatal lines, zap's JSON, the Go runtime, the program itself.
_FATAL = re.compile(r"^(?:fita-controlplane: |F\d{4} |panic: |fatal error: |\{\"level\":\"(?:d?panic|fatal)\")")
_ERROR = re.compile(r"^(?:E\d{4} |\{\"level\":\"error\")")
_HEADER = re.compile(r"^(?:[A-Z]\d{4} \S+\s+\d+ [^\]]+\] |fita-controlplane: )")


class LogFile:
    """A log that another process appends to. At most `LIMIT_BYTES` are kept, and as much again in ``<name>.1``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0

    def open(self) -> int:
        """A file descriptor to append to. `tail` and `telling_line` see only what is written from now on."""
        with disk_errors(self.path):
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        self._mark = os.fstat(fd).st_size
        return fd

    def shorten(self) -> None:
        """Move what is there to ``<name>.1`` when it has become too long. Its writer goes on at the beginning."""
        try:
            if self.path.stat().st_size <= LIMIT_BYTES:
                return
        except FileNotFoundError:
            return
        with disk_errors(self.path):
            content = self._read(LIMIT_BYTES)
            older = self.path.with_name(self.path.name + ".1")
            with os.fdopen(os.open(older, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb") as file:
                file.write(content)
            os.truncate(self.path, 0)
        self._mark = 0

    def tail(self) -> list[str]:
        """The last lines since `open`."""
        try:
            written = self.path.stat().st_size - self._mark
        except FileNotFoundError:
            return []
        content = self._read(min(TAIL_BYTES, max(0, written)))
        return content.decode(errors="replace").splitlines()

    def telling_line(self, *, only_fatal: bool = False) -> str:
        """The line that says best why the writer ended, without its header; empty when there is none.

        `only_fatal`: the writer was ended from outside, so that errors it reported before say nothing about it.
        """
        lines = [line for line in self.tail() if line.strip()]
        fatal = [line for line in lines if _FATAL.match(line)]
        errors = [line for line in lines if _ERROR.match(line)]
        for candidates in (fatal,) if only_fatal else (fatal, errors, lines):
            if candidates:
                return _HEADER.sub("", candidates[-1])
        return ""

    def _read(self, count: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(-min(count, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return file.read(count)
