"""What a user is told of an error, and where log lines go."""

from __future__ import annotations

import asyncio
import contextlib
import io

import pytest
import structlog

from fita.base.errors import FitaError, named_error
from fita.base.logging import configure_logging


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("outer", [ExceptionGroup("inner", list(errors))])


def test_the_first_named_error_of_a_group_is_told() -> None:
    named = FitaError("the port is taken", hint="choose another")
    assert named_error(named) is named
    assert named_error(group(OSError(13, "Permission denied"), named, FitaError("later"))) is named


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "/root/x"), "/root/x: Permission denied"),
        (group(OSError(101, "Network is unreachable")), "Network is unreachable"),
        (group(TimeoutError()), "it took too long"),
    ],
)
def test_what_the_system_refuses_is_told_in_words(error: Exception, message: str) -> None:
    told = named_error(error)
    assert told is not None
    assert told.message == message
    assert told.hint


def test_a_fault_is_not_hidden() -> None:
    assert named_error(KeyError("x")) is None
    assert named_error(group(FitaError("x"), KeyError("x"))) is None


def test_lines_go_to_the_standard_error_of_the_moment() -> None:
    before, after = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(before):
            configure_logging()
            log = structlog.get_logger().bind(part="x")
            log.warning("first")
        before.close()
        with contextlib.redirect_stderr(after):
            log.warning("second")
    finally:
        structlog.reset_defaults()
    assert "second" in after.getvalue()


def test_asyncio_deadlines_are_told_as_such() -> None:
    async def late() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(late())
    told = named_error(caught.value)
    assert told is not None
    assert told.message == "it took too long"
