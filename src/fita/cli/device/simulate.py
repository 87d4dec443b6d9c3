"""`fita device simulate`: emulated devices."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fita.cli.option import MAX_PORT, DataDirOption, data_dir_of

if TYPE_CHECKING:
    from fita.simulator.errors import DeviceExitedError
    from fita.simulator.flash import DeviceSpec


def simulate(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many devices.")] = 1,
    heap: Annotated[str, typer.Option("--heap", help="Memory of each: 128k, 256k, 1M (k = 1024 bytes).")] = "128k",
    capability: Annotated[
        list[str] | None, typer.Option("--capability", help="A sensor of each device; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Endpoint names are NAME1, NAME2, ...")] = "device",
    gateway: Annotated[
        str, typer.Option("--gateway", help="HOST:PORT of its CoAP socket.", show_default="the running gateway")
    ] = "",
    signal: Annotated[
        str,
        typer.Option("--signal", help="daily, constant:VALUE, noise:MEAN,DEVIATION or csv:FILE."),
    ] = "daily",
    seed: Annotated[int, typer.Option("--seed", help="Makes a run repeatable.", min=0)] = 1,
    lifetime_s: Annotated[int, typer.Option("--lifetime", min=1, help="Of registrations, in seconds.")] = 60,
    flash_dir: Annotated[
        Path | None,
        typer.Option(
            "--flash-dir", help="Folder of the devices' flash.", show_default="one that is removed if none fails"
        ),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Run emulated devices until interrupted: the real runtime, in processes with a real heap limit."""
    from fita.app.interrupt import until_interrupted
    from fita.simulator.fleet import DeviceSpec

    address = gateway_address(gateway, data_dir)
    heap_bytes = parse_heap(heap)
    failures: list[DeviceExitedError] = []
    with flash_folder(flash_dir, failures) as base:
        specs = [
            DeviceSpec(
                endpoint=f"{name}{number}",
                gateway=address,
                folder=base / f"{name}{number}",
                heap_bytes=heap_bytes,
                capabilities=tuple(capability or ()),
                signal=signal,
                seed=seed + number - 1,
                lifetime_s=lifetime_s,
            )
            for number in range(1, count + 1)
        ]
        asyncio.run(until_interrupted(_simulate(specs, failures)))


@contextmanager
def flash_folder(chosen: Path | None, failures: Sequence[DeviceExitedError]) -> Iterator[Path]:
    """`chosen`, else a new folder that is removed at the end; with `failures` it stays: their logs are in it."""
    if chosen is not None:
        yield chosen.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="fita-flash-"))
    try:
        yield folder
    finally:
        if not failures:
            shutil.rmtree(folder, ignore_errors=True)


def parse_heap(text: str) -> int:
    """Bytes from ``128k`` or ``1M``, in powers of 1024; `ConfigurationError` otherwise."""
    from fita.base.errors import ConfigurationError

    number, unit = text.rstrip("kKmMiB"), text.lstrip("0123456789").removesuffix("B").removesuffix("i").lower()
    factor = {"": 1, "k": 1024, "m": 1024 * 1024}.get(unit)
    if factor is None or not number.isdigit() or int(number) * factor < _LEAST_HEAP_BYTES:
        raise ConfigurationError(
            f"{text!r} is no heap size", hint=f"write 128k or 1M, at least {_LEAST_HEAP_BYTES // 1024}k"
        )
    return int(number) * factor


_LEAST_HEAP_BYTES = 96 * 1024
"""Below that the runtime leaves no room for a service: on a 64-bit machine it takes twice a microcontroller's."""


def gateway_address(option: str, data_dir: Path | None) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, of the running gateway when empty; `ConfigurationError` otherwise."""
    from fita.app.settings import COAP_PORT
    from fita.app.state import require_state
    from fita.base.errors import ConfigurationError

    if not option:
        return require_state(data_dir_of(data_dir)).coap_address
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?", option)
    match = bracketed or re.fullmatch(r"([^:\[\]\s]+)(?::(\d{1,5}))?", option)
    port = int(match[2] or COAP_PORT) if match else 0
    if match is None or not 0 < port <= MAX_PORT:
        raise ConfigurationError(
            f"{option!r} is no address of a gateway",
            hint=f"write HOST:PORT with a port from 1 to {MAX_PORT}, and an IPv6 address as [ADDRESS]:PORT",
        )
    return match[1], port


async def _simulate(specs: list[DeviceSpec], failures: list[DeviceExitedError]) -> None:
    from rich.console import Console

    from fita.app.state import authority
    from fita.simulator.errors import SimulatorError
    from fita.simulator.fleet import Fleet

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(spec.endpoint) for spec in specs)

    def show(endpoint: str, line: str) -> None:
        console.print(f"{endpoint:{width}}  {line}", markup=False)

    def failed(error: DeviceExitedError) -> None:
        failures.append(error)
        for line in error.lines:
            console.print(f"{error.endpoint:{width}}  {line}", markup=False, style="red")
        console.print(f"{error.message} ({error.hint})", markup=False, style="red")
        if not any(other.alive for other in fleet.devices.values()):
            ended.set()

    ended = asyncio.Event()
    fleet = Fleet(specs, on_line=show, on_exit=failed)
    gateway = authority(*specs[0].gateway)
    console.print(
        f"{len(specs)} devices of {specs[0].heap_bytes // 1024} kB, gateway {gateway}; Ctrl-C stops them",
        markup=False,
    )
    async with fleet:
        await ended.wait()
    raise SimulatorError("every device has ended", hint="see above why")
