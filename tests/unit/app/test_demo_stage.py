"""A step of a demonstration that takes too long is named."""

from __future__ import annotations

import asyncio

import pytest

from fita.demo.errors import DemoError
from fita.demo.stage import STEP_DEADLINE_S, Stage, in_time


@pytest.mark.looptime
async def test_a_step_that_takes_too_long_is_named() -> None:
    with pytest.raises(DemoError, match=r"kubectl scale: not done after 30 s") as caught:
        async with Stage(quiet=True).step("kubectl scale"):
            await asyncio.Event().wait()
    assert caught.value.hint
    assert asyncio.get_running_loop().time() == pytest.approx(STEP_DEADLINE_S)


@pytest.mark.looptime
async def test_what_else_goes_wrong_stays_what_it_is() -> None:
    for error in (DemoError("three pods"), TimeoutError("of its own")):
        with pytest.raises(type(error)) as caught:
            async with in_time("kubectl scale", 1):
                raise error
        assert caught.value is error
    with pytest.raises(DemoError, match="fita down: not done after 1 s"):
        async with in_time("fita down", 1):
            await asyncio.sleep(2)
