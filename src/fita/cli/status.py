"""`fita status` and `fita down`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from fita.cli.option import DataDirOption, JsonOption, data_dir_of


def status(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show whether the gateway and its cluster run, and where; exit code 1 when they do not."""
    import msgspec

    from fita.app.status import read_status

    report = asyncio.run(read_status(data_dir_of(data_dir)))
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        for name, text in report.lines():
            sys.stdout.write(f"{name:<12}{text}\n")
    if not report.healthy:
        raise typer.Exit(1)


def down(
    data_dir: DataDirOption = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for an orderly end.")] = 30.0,
) -> None:
    """Stop the gateway and the local cluster of this data folder; data is kept."""
    from fita.app.status import stop

    folder = data_dir_of(data_dir)
    stopped = asyncio.run(stop(folder, timeout_s=timeout_s))
    sys.stdout.write(f"stopped {stopped}\n" if stopped else f"nothing runs with the data folder {folder}\n")
