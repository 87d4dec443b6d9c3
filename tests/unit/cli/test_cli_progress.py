"""The display of the compilation."""

from __future__ import annotations

import io

from rich.console import Console

from fita.cli.progress import BuildProgressBar
from fita.localcluster.build.progress import BuildProgress, BuildStage

STEPS = [
    BuildProgress(BuildStage.FETCH_MODULES, 1, 200),
    BuildProgress(BuildStage.FETCH_MODULES, 2, 200),
    BuildProgress(BuildStage.COMPILE, 0, 2600),
    BuildProgress(BuildStage.COMPILE, 100, 2600),
    BuildProgress(BuildStage.COMPILE, 2599, 2600),
    BuildProgress(BuildStage.LINK),
    BuildProgress(BuildStage.DONE),
]


def shown(steps: list[BuildProgress], *, is_terminal: bool) -> str:
    text = io.StringIO()
    with BuildProgressBar(Console(file=text, force_terminal=is_terminal, width=120)) as bar:
        for step in steps:
            bar.show(step)
    return text.getvalue()


def test_nothing_is_shown_when_nothing_is_compiled() -> None:
    assert shown([], is_terminal=True) == ""
    assert shown([BuildProgress(BuildStage.DONE)], is_terminal=True) == ""


def test_lines_for_stages_and_tenths_where_no_bar_can_move() -> None:
    assert shown(STEPS, is_terminal=False).splitlines()[1:] == [
        "fetching Kubernetes' source 1/200",
        "compiling Kubernetes 0/2600",
        "compiling Kubernetes 2599/2600",
        "linking",
    ]


def test_a_bar_on_a_terminal() -> None:
    text = shown(STEPS, is_terminal=True)
    assert "once for this machine" in text
    assert "linking" in text
    assert text.rstrip("\n").endswith("\x1b[?25h")  # the cursor is back
