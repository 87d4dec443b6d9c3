"""How far the one compilation of the control plane has come, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class BuildStage(StrEnum):
    """What is being done; the value is what a person reads."""

    WAIT = "waiting for another process that compiles"
    FETCH_GO = "fetching Go"
    FETCH_MODULES = "fetching Kubernetes' source"
    COMPILE = "compiling Kubernetes"
    LINK = "linking"
    DONE = "compiled"


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """`done` of `total` modules (`FETCH_MODULES`) or packages (`COMPILE`); a total of 0 means it is not known."""

    stage: BuildStage
    done: int = 0
    total: int = 0


ProgressListener = Callable[[BuildProgress], None]
"""Called on the event loop at every step; must be quick."""


def ignore_progress(progress: BuildProgress) -> None:
    """Show nothing."""
