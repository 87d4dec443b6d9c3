"""Check the Go sources with the same Go that compiles the control plane: gofmt and go vet.

``python -m tools.govet`` prints every finding and exits 1 when there is one. The packages that the program stands on
must be compiled for it, as for the program itself: the first run on a machine takes minutes, and the next compilation
seconds.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fita.base.errors import FitaError
from fita.localcluster.binary import default_cache_dir
from fita.localcluster.command import CommandFailedError, run_command
from fita.localcluster.go import find_go
from fita.localcluster.progress import BuildProgress

SOURCES = Path(__file__).resolve().parent.parent / "controlplane"


def show(progress: BuildProgress) -> None:
    print(progress.stage.value, file=sys.stderr)


async def check() -> list[str]:
    """Every finding, one a line."""
    go = await find_go(SOURCES, default_cache_dir(), on_progress=show)
    unformatted = await run_command([str(go.gofmt), "-l", "."], cwd=SOURCES, environment=go.environment)
    findings = [f"controlplane/{name}: not formatted, run gofmt -w" for name in unformatted.split()]
    try:
        await run_command([str(go.program), "vet", "./..."], cwd=SOURCES, environment=go.environment)
    except CommandFailedError as error:
        findings += error.lines
    return findings


def main() -> int:
    try:
        findings = asyncio.run(check())
    except FitaError as error:
        findings = [str(error)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
