"""What a person sees of a demonstration: one line for each step, with its time, and tables in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rich.console import Console
from rich.table import Table

from fita.demo.errors import DemoError

STEP_DEADLINE_S = 30.0


@asynccontextmanager
async def in_time(what: str, deadline_s: float) -> AsyncIterator[None]:
    """Raise a `DemoError` that says of `what` when the block takes longer than `deadline_s`."""
    deadline = asyncio.timeout(deadline_s)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise DemoError(
            f"{what}: not done after {deadline_s:g} s", hint="run it again, on a machine with less else to do"
        ) from error


class Stage:
    """Writes to standard error, so that standard output is free for the result. `quiet` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    @asynccontextmanager
    async def step(self, text: str, *, deadline_s: float = STEP_DEADLINE_S) -> AsyncIterator[None]:
        """Show `text` while the block runs, then with a mark and the seconds it took.

        Raises `DemoError`, which names the step, when it takes longer than `deadline_s`.
        """
        started = time.monotonic()
        with self._console.status(text):
            try:
                async with in_time(text, deadline_s):
                    yield
            except BaseException:
                self._console.print(f"[red]✗[/] {text}")
                raise
        self._console.print(f"[green]✓[/] {text} [dim]{time.monotonic() - started:.1f} s[/]")

    def say(self, text: str) -> None:
        """One indented line."""
        self._console.print(f"  [dim]{text}[/]")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table, indented like `say`."""
        table = Table(*columns, box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        for row in rows:
            table.add_row(*row)
        self._console.print(_indented(table))


def _indented(table: Table) -> Table:
    outer = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    outer.add_row("", table)
    return outer
