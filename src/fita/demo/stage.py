"""What a person sees of a demonstration: one line for each step, with its time, and tables in between."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table


class Stage:
    """Writes to standard error, so that standard output is free for the result. `quiet` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show `text` while the block runs, then with a mark and the seconds it took."""
        started = time.monotonic()
        with self._console.status(text):
            try:
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
