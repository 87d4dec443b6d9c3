"""Shows the one compilation of the local Kubernetes: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from fita.localcluster.build.progress import BuildProgress, BuildStage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

INTRODUCTION = (
    "Compiling Kubernetes, once for this machine: about 5 minutes on 2 cores, the next start takes seconds."
)


class BuildProgressBar:
    """Use as a context manager and give `show` away as the listener. Shows nothing until there is something."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._shown: tuple[BuildStage, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def show(self, progress: BuildProgress) -> None:
        """Show one step."""
        if progress.stage is BuildStage.DONE:
            self._end()
            return
        bar = self._bar or self._begin()
        if bar.disable:
            self._print_step(progress, bar.console)
        else:
            self._move(progress, bar)

    def _begin(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = self._console or Console(stderr=True, soft_wrap=True)
        console.print(INTRODUCTION, highlight=False)
        count = TextColumn("{task.fields[count]}")
        columns = (TextColumn("{task.description:<28}"), BarColumn(), count, TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None, count="")
        self._bar.start()
        return self._bar

    def _move(self, progress: BuildProgress, bar: Progress) -> None:
        if self._task is not None:
            count = f"{progress.done}/{progress.total}" if progress.total else ""
            total = progress.total or None
            bar.update(
                self._task, description=progress.stage.value, completed=progress.done, total=total, count=count
            )

    def _print_step(self, progress: BuildProgress, console: Console) -> None:
        """Where no bar can move: one line per stage and per tenth of it."""
        tenth = 10 * progress.done // progress.total if progress.total else 0
        if self._shown != (progress.stage, tenth):
            self._shown = (progress.stage, tenth)
            count = f" {progress.done}/{progress.total}" if progress.total else ""
            console.print(f"{progress.stage.value}{count}", highlight=False)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = self._shown = None
