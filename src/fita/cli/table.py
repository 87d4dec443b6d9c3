"""Tables as kubectl prints them: aligned columns that are never cut, so that they can be piped."""

from __future__ import annotations

import sys
from collections.abc import Sequence

GAP = "   "


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Write the rows below their headings to standard output; `empty` when there are none."""
    if not rows:
        sys.stdout.write(f"{empty}\n")
        return
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write(GAP.join(cells).rstrip() + "\n")
