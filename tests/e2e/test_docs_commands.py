"""Runs every command of the documentation, page by page, as a reader would type it.

In a page, ``sh`` blocks run one after the other in one shell; ``sh background`` blocks are the reader's second
terminal and run until the page ends. A page runs in an empty folder with a home folder and free ports of its own.
The README's two commands are held by tests/unit/docs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```sh( background)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SET_UP = "make .venv/.run\n. .venv/bin/activate\n"
"""The reader's environment is the one that the tests run in."""
PAGE_DEADLINE_S = 240


def pages() -> list[Path]:
    found = [path for path in sorted(ROOT.glob("docs/**/*.md")) if _BLOCK.search(path.read_text(encoding="utf-8"))]
    assert found, "the documentation has no commands at all"
    return found


def script(page: Path) -> str:
    """The page's commands as one script that stops at the first failure and leaves nothing running."""
    lines = ["set -eu -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait; fita down' EXIT"]
    for background, commands in _BLOCK.findall(page.read_text(encoding="utf-8")):
        commands = commands.replace(_SET_UP, "")
        lines.append(f"{{\n{commands}}} &" if background else commands)
    return "\n".join(lines)


@pytest.mark.e2e
@pytest.mark.timeout(PAGE_DEADLINE_S + 30)
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_the_page_works(page: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "FITA_COAP_PORT": "0",
        "FITA_HTTP_PORT": "0",
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", script(page)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PAGE_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{page.relative_to(ROOT)} failed:\n{done.stdout[-6000:]}"
