"""The process behind `fita up --detach`: ``python -m fita.app.background ORDER`` (see `fita.app.detached`)."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

import msgspec
import structlog

from fita.app.detached import Order, Report, detached_log
from fita.app.interrupt import until_interrupted
from fita.app.state import GatewayState
from fita.app.up import run_up
from fita.base.errors import FitaError, named_error
from fita.base.logging import configure_logging

LOG_CHECK_S = 30.0

log = structlog.get_logger(__name__)


class StarterGoneError(FitaError):
    """The process that asked for the start ended before it could be told: nobody knows that this one runs."""

    def __init__(self) -> None:
        super().__init__("the start was given up", hint="start it again")


class _Reporter:
    """Tells the starter how it went, once; later calls do nothing. Raises `StarterGoneError`."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd: int | None = fd

    def begun(self) -> None:
        self._write(Report(pid=os.getpid()))

    def ready(self, state: GatewayState) -> None:
        self._finish(Report(pid=os.getpid(), gateway=state))

    def failed(self, error: FitaError) -> None:
        with suppress(StarterGoneError):
            self._finish(Report(pid=os.getpid(), error=error.message, hint=error.hint))

    def _finish(self, report: Report) -> None:
        if self._fd is not None:
            self._write(report)
            os.close(self._fd)
            self._fd = None

    def _write(self, report: Report) -> None:
        if self._fd is not None:
            try:
                os.write(self._fd, msgspec.json.encode(report) + b"\n")
            except BrokenPipeError:
                raise StarterGoneError from None


async def _run(order: Order, reporter: _Reporter) -> None:
    reporter.begun()
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_log_short(order))
        await run_up(order.settings, api_port=order.api_port, on_ready=reporter.ready)


async def _keep_log_short(order: Order) -> None:
    file = detached_log(order.settings.data_dir)
    while True:
        await asyncio.sleep(LOG_CHECK_S)
        file.shorten()


def main() -> int:
    """Split off from the starter and run until ended by a signal."""
    order = Order.decode(sys.argv[1])
    if os.fork():
        os._exit(0)
    configure_logging(verbosity=1)
    reporter = _Reporter(order.report_fd)
    status = 0
    try:
        asyncio.run(until_interrupted(_run(order, reporter)))
    except Exception as error:
        status = 1
        reporter.failed(_told(error))
    return status


def _told(error: Exception) -> FitaError:
    """What ended this process, in words for the starter and in the log."""
    named = named_error(error)
    if named is not None:
        log.error("ended", reason=named.message, hint=named.hint)
        return named
    log.exception("ended by a fault")
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return FitaError(
        f"{type(error).__name__}: {error}", hint="gateway.log in the data folder says where it happened"
    )


if __name__ == "__main__":
    sys.exit(main())
