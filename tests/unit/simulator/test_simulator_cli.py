"""`fita device simulate` as a user types it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from simulator_gateway import RegisteringGateway

from fita.base.errors import ConfigurationError
from fita.cli.device.simulate import parse_heap
from fita.cli.main import main

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sets logging up for its own standard error, which here is gone after the test."""
    yield
    structlog.reset_defaults()


FITA = Path(sys.executable).parent / "fita"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("128k", 131072),
        ("128K", 131072),
        ("128Ki", 131072),
        ("256kB", 262144),
        ("1M", 1048576),
        ("131072", 131072),
    ],
)
def test_heap_sizes(text: str, expected: int) -> None:
    assert parse_heap(text) == expected


@pytest.mark.parametrize("text", ["", "k", "128q", "64k", "-128k", "1.5M", "12 8k", "128kk"])
def test_what_is_no_heap_size(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_heap(text)
    assert "96k" in caught.value.hint


async def run(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        FITA, "device", "simulate", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def test_devices_run_until_interrupted(tmp_path: Path) -> None:
    gateway = await RegisteringGateway.bind()
    host, port = gateway.address
    command = await run(
        *("--count", "2", "--heap", "128k", "--capability", "temperature_sensor", "--name", "b1_node"),
        *("--gateway", f"{host}:{port}", "--signal", "constant:21.5", "--flash-dir", str(tmp_path)),
    )
    assert command.stdout is not None
    seen = [(await command.stdout.readline()).decode().strip() for _ in range(3)]
    assert seen[0] == f"2 devices of 128 kB, gateway {host}:{port}; Ctrl-C stops them"
    assert sorted(seen[1:]) == [f"b1_node{number}  registered as b1_node{number} at /rd/1" for number in (1, 2)]
    command.send_signal(signal.SIGINT)
    out, _ = await command.communicate()
    assert sorted(out.decode().splitlines()) == ["b1_node1  stopped", "b1_node2  stopped"]
    assert command.returncode == 0
    assert (gateway.came, gateway.gone) == ({"b1_node1": 1, "b1_node2": 1}, 2)
    assert (tmp_path / "b1_node2" / "device.json").exists()
    gateway.close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--gateway", "127.0.0.1:x"), "is no address of a gateway"),
        (("--gateway", "127.0.0.1:1", "--signal", "square"), "there is no signal 'square'"),
        (("--gateway", "127.0.0.1:1", "--heap", "12k"), "is no heap size"),
        (("--data-dir", "/nowhere"), "no gateway runs with the data folder /nowhere"),
    ],
)
def test_mistakes_are_explained(
    arguments: tuple[str, ...], error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fita", "device", "simulate", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert error in said
    assert "hint:" in said


def test_devices_that_all_fail_end_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "device1").mkdir()
    (tmp_path / "device1" / "services").write_text("no folder", encoding="utf-8")
    monkeypatch.setattr(
        sys, "argv", ["fita", "device", "simulate", "--gateway", "127.0.0.1:1", "--flash-dir", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert "every device has ended" in captured.err
    assert "the device device1 ended with status 1" in captured.out
