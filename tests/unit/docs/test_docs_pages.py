"""Docs stay true: generated pages are current, links lead somewhere, commands are ones that tests run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.cli_reference import PAGE, render

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^```(\w*)(.*)$", re.MULTILINE)


def test_the_command_reference_is_current() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(), "run `python -m tools.cli_reference`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = [target for target in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_the_readme_has_the_two_commands_and_no_other() -> None:
    """Both are run elsewhere: `make test` runs this, and the demonstration's test what `make demo` runs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert commands == ["make demo\n", "make test\n"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "demo: .venv/.run\n\t$(BIN)/fita demo temperature\n" in makefile


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_fences_say_what_they_hold(page: Path) -> None:
    """A block of commands is ``sh``, which a test runs; anything else names its own language."""
    opening = _FENCE.findall(page.read_text(encoding="utf-8"))[::2]
    allowed = {"sh", "text", "json", "yaml", "toml", "python", "mermaid"}
    generated = page == ROOT / PAGE
    assert generated or all(language in allowed for language, _ in opening)
