"""Programs are run to their end, and never left behind."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from fita.localcluster.command import CommandFailedError, run_command


async def test_output_and_lines() -> None:
    lines: list[str] = []
    script = "import sys; print('out' * 50000); sys.stderr.write('one\\n\\ntwo' + 'o' * 100000)"
    output = await run_command([sys.executable, "-c", script], on_line=lines.append)
    assert output == "out" * 50000 + "\n"
    assert lines == ["one", "two" + "o" * 100000]


async def test_failure_keeps_the_last_lines() -> None:
    with pytest.raises(CommandFailedError, match="sh ended with status 3: why") as caught:
        await run_command(["/bin/sh", "-c", "echo why >&2; exit 3"])
    assert caught.value.lines == ("why",)


async def test_missing_program() -> None:
    with pytest.raises(FileNotFoundError):
        await run_command(["/nowhere/program"])


@pytest.mark.parametrize("prelude", ["", "trap '' INT; "])
async def test_cancelling_ends_the_whole_group(
    tmp_path: Path, prelude: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fita.localcluster.command.INTERRUPT_PATIENCE_S", 0.1)
    started = asyncio.Event()
    script = f"{prelude}sleep 60 & echo $! >&2; wait"
    pids: list[int] = []

    def note(line: str) -> None:
        pids.append(int(line))
        started.set()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(run_command(["/bin/sh", "-c", script], on_line=note))
        await started.wait()
        task.cancel()
    assert not is_running(pids[0])


def is_running(pid: int) -> bool:
    """A process that has ended may still be a zombie that nobody asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
