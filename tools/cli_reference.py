"""Write docs/reference/cli.md from the commands themselves.

``python -m tools.cli_reference`` rewrites the page; a test holds the page against the code.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PAGE = Path("docs/reference/cli.md")
_NOTE = "<!-- Made by `python -m tools.cli_reference`. Do not edit. -->\n\n"


def render() -> str:
    """The page as the present code makes it."""
    command = [sys.executable, "-m", "typer", "--app", "app", "fita.cli.main", "utils", "docs"]
    text = subprocess.run([*command, "--name", "fita"], check=True, capture_output=True, text=True).stdout
    return _NOTE + "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def main() -> None:
    PAGE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
