"""Runs a program to its end, hands over its lines as they come, and never leaves it behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

INTERRUPT_PATIENCE_S = 10.0
KEPT_LINES = 200
"""So much of a failed program's output is kept to tell what went wrong."""

LineListener = Callable[[str], None]


class CommandFailedError(Exception):
    """A program ended with an exit status other than 0. `lines` are the last of its standard error."""

    def __init__(self, arguments: Sequence[str], returncode: int, lines: Sequence[str]) -> None:
        super().__init__(f"{Path(arguments[0]).name} ended with status {returncode}: {lines[-1] if lines else ''}")
        self.returncode = returncode
        self.lines = tuple(lines)


async def run_command(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: LineListener | None = None,
    keep_open: tuple[int, ...] = (),
) -> str:
    """Run a program in a process group of its own; return its standard output.

    `on_line` gets each line of standard error; the files `keep_open` are inherited. When the caller is cancelled
    the whole group is interrupted and waited for. Raises `CommandFailedError`; `OSError` when it cannot start.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=keep_open,
        start_new_session=True,
    )
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        async with asyncio.TaskGroup() as group:
            output = group.create_task(_read_all(process.stdout))
            group.create_task(_read_lines(process.stderr, kept, on_line))
        returncode = await process.wait()
    except BaseException:
        await _end_group(process)
        raise
    if returncode != 0:
        raise CommandFailedError(arguments, returncode, kept)
    return output.result()


async def _read_all(stream: asyncio.StreamReader | None) -> str:
    return (await stream.read()).decode(errors="replace") if stream else ""


async def _read_lines(stream: asyncio.StreamReader | None, kept: deque[str], on_line: LineListener | None) -> None:
    """Read by chunks: a line may be longer than the stream's limit."""
    rest = b""
    while stream and (chunk := await stream.read(1 << 16)):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _hand_over(line, kept, on_line)
    if rest:
        _hand_over(rest, kept, on_line)


def _hand_over(line: bytes, kept: deque[str], on_line: LineListener | None) -> None:
    text = line.decode(errors="replace").rstrip()
    if text:
        kept.append(text)
        if on_line is not None:
            on_line(text)


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Interrupt the program and its children, kill those that do not listen; the output ends with the last."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(INTERRUPT_PATIENCE_S):
                await _read_all(process.stdout)
                await _read_all(process.stderr)
                await process.wait()
                return
