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
_SET_UP = re.compile(r"^make \.venv/\.(run|dev)\n\. \.venv/bin/activate\n", re.MULTILINE)
"""The reader's environment is the one that the tests run in."""
PAGE_DEADLINE_S = 240


def pages() -> list[Path]:
    found = [path for path in sorted(ROOT.glob("docs/**/*.md")) if _BLOCK.search(path.read_text(encoding="utf-8"))]
    assert found, "the documentation has no commands at all"
    return found


def write_script(page: Path, folder: Path) -> Path:
    """The page's commands as one script that stops at the first failure and leaves nothing running."""
    lines = [
        "set -eu -o pipefail",
        "second_terminals=''",
        "stop() { for each in $second_terminals; do kill -- -$each; done; fita down; }",
        "trap stop EXIT",
    ]
    for number, (background, commands) in enumerate(_BLOCK.findall(page.read_text(encoding="utf-8"))):
        if background:
            terminal = folder / f"terminal-{number}.sh"
            terminal.write_text(commands, encoding="utf-8")
            lines.append(f'setsid bash -eu {terminal} &\nsecond_terminals="$second_terminals $!"')
        else:
            lines.append(_SET_UP.sub("", commands))
    path = folder / "page.sh"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.e2e
@pytest.mark.timeout(PAGE_DEADLINE_S + 30)
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_the_page_works(page: Path, tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = {
        **os.environ,
        "FITA_COAP_PORT": "0",
        "FITA_HTTP_PORT": "0",
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    output = tmp_path / "output.txt"
    with output.open("wb") as file:
        page_process = subprocess.Popen(
            ["bash", str(write_script(page, tmp_path))],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            status: int | None = page_process.wait(timeout=PAGE_DEADLINE_S)
        except subprocess.TimeoutExpired:
            page_process.terminate()  # the script's trap cleans up
            page_process.wait(timeout=30)
            status = None
    shown = output.read_text(encoding="utf-8", errors="replace")[-6000:]
    assert status == 0, f"{page.relative_to(ROOT)} {'took too long' if status is None else 'failed'}:\n{shown}"
