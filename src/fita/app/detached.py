"""`fita up --detach`: starts `run_up` in a process of its own that outlives the one who asked for it.

The two talk over a pipe: the new process (`fita.app.background`) writes its number, then one report, that it is
ready or why it is not. This module loads no gateway: it is in the way of the other process's start.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from fita.app.settings import GatewaySettings
from fita.app.state import GatewayState, refuse_second
from fita.base.errors import FitaError
from fita.localcluster.build.compilation import ensure_built
from fita.localcluster.build.progress import ProgressListener, ignore_progress
from fita.localcluster.folder import DataFolder
from fita.localcluster.log import LogFile

READY_DEADLINE_S = 180.0
"""Longer than the control plane's and the gateway's own deadlines together: they have more to say."""
END_DEADLINE_S = 30.0
LOG_NAME = "gateway.log"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the new process is told, on its command line."""

    settings: GatewaySettings
    api_port: int = 0
    report_fd: int

    def encode(self) -> str:
        return msgspec.json.encode(self, enc_hook=_encode_path).decode()

    @staticmethod
    def decode(text: str) -> Order:
        return msgspec.json.decode(text, type=Order, dec_hook=_decode_path)


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the new process says. The first one carries `pid` alone, the second either `gateway` or `error`."""

    pid: int
    gateway: GatewayState | None = None
    error: str = ""
    hint: str = ""


def detached_log(data_dir: Path) -> LogFile:
    """Where a gateway in the background logs."""
    return LogFile(data_dir / LOG_NAME)


async def run_detached(
    settings: GatewaySettings, *, api_port: int = 0, on_progress: ProgressListener = ignore_progress
) -> GatewayState:
    """Start `run_up` in the background, return when its gateway is ready. It logs to ``<data_dir>/gateway.log``.

    What is compiled is compiled here, where its progress can be seen. When cancelled nothing is left running.
    Raises `FitaError`.
    """
    refuse_second(settings.data_dir)
    if settings.kubeconfig is None:
        await ensure_built(on_progress=on_progress)
    return await launch(settings, api_port=api_port)


async def launch(settings: GatewaySettings, *, api_port: int) -> GatewayState:
    """Start the process and return when its gateway is ready. Raises `FitaError` with its reason when it is not.

    When the caller is cancelled, or the start takes longer than `READY_DEADLINE_S`, the process is ended.
    """
    folder = DataFolder.at(settings.data_dir)
    folder.create()
    settings = msgspec.structs.replace(settings, data_dir=folder.path)
    log = detached_log(settings.data_dir)
    async with _started(settings, api_port, log) as reports:
        first = await _next_report(reports, log)
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                report = await _next_report(reports, log)
        except BaseException as error:
            await _end(first.pid, reports)
            if isinstance(error, TimeoutError):
                raise FitaError(f"not ready after {READY_DEADLINE_S:g} s", hint=f"look at {log.path}") from None
            raise
    if report.gateway is None:
        raise FitaError(report.error, hint=report.hint)
    return report.gateway


@asynccontextmanager
async def _started(settings: GatewaySettings, api_port: int, log: LogFile) -> AsyncIterator[asyncio.StreamReader]:
    """Start the process; what it reports."""
    read_fd, write_fd = os.pipe()
    log.shorten()
    log_fd = log.open()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(read_fd, "rb")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        try:
            order = Order(settings=settings, api_port=api_port, report_fd=write_fd)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "fita.app.background", order.encode()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                pass_fds=(write_fd,),
                cwd=settings.data_dir,
                start_new_session=True,
            )
        finally:
            os.close(write_fd)
            os.close(log_fd)
        await process.wait()  # it splits off at once: the one that goes on is nobody's child
        yield reader
    finally:
        transport.close()


async def _next_report(reports: asyncio.StreamReader, log: LogFile) -> Report:
    line = await reports.readline()
    try:
        return msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError:
        said = log.telling_line() or "it said nothing"
        raise FitaError(f"the background process ended: {said}", hint=f"look at {log.path}") from None


async def _end(pid: int, reports: asyncio.StreamReader) -> None:
    """End the process that is still starting and wait until it has gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(END_DEADLINE_S):
            await reports.read()


def _encode_path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind.__name__)
