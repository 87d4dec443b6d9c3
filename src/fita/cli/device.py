"""`fita device`: emulated devices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fita.cli.option import DataDirOption, data_dir_of

if TYPE_CHECKING:
    from fita.simulator.errors import DeviceExitedError
    from fita.simulator.flash import DeviceSpec

app = typer.Typer(help="Devices: emulate them on this machine.", no_args_is_help=True)


@app.callback()
def device() -> None:
    """Devices: emulate them on this machine."""


@app.command()
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
            "--flash-dir", help="Folder of the devices' flash.", show_default="one that is removed at the end"
        ),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Run emulated devices until interrupted: the real runtime, in processes with a real heap limit."""
    import tempfile

    from fita.app.interrupt import until_interrupted
    from fita.simulator.fleet import DeviceSpec

    with tempfile.TemporaryDirectory(prefix="fita-flash-") as temporary:
        base = flash_dir.absolute() if flash_dir is not None else Path(temporary)
        specs = [
            DeviceSpec(
                endpoint=f"{name}{number}",
                gateway=_gateway(gateway, data_dir),
                folder=base / f"{name}{number}",
                heap_bytes=parse_heap(heap),
                capabilities=tuple(capability or ()),
                signal=signal,
                seed=seed + number - 1,
                lifetime_s=lifetime_s,
            )
            for number in range(1, count + 1)
        ]
        asyncio.run(until_interrupted(_simulate(specs)))


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


def _gateway(option: str, data_dir: Path | None) -> tuple[str, int]:
    from fita.app.settings import COAP_PORT
    from fita.app.state import require_state
    from fita.base.errors import ConfigurationError

    if not option:
        return require_state(data_dir_of(data_dir)).coap_address
    host, colon, port = option.partition(":")
    if not host or (colon and not port.isdigit()):
        raise ConfigurationError(f"{option!r} is no address of a gateway", hint="write HOST:PORT")
    return host, int(port) if port else COAP_PORT


async def _simulate(specs: list[DeviceSpec]) -> None:
    from rich.console import Console

    from fita.simulator.errors import SimulatorError
    from fita.simulator.fleet import Fleet

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(spec.endpoint) for spec in specs)

    def show(endpoint: str, line: str) -> None:
        console.print(f"{endpoint:{width}}  {line}", markup=False)

    def failed(error: DeviceExitedError) -> None:
        for line in error.lines:
            console.print(f"{error.endpoint:{width}}  {line}", markup=False, style="red")
        console.print(f"{error.message} ({error.hint})", markup=False, style="red")
        if not any(other.alive for other in fleet.devices.values()):
            ended.set()

    ended = asyncio.Event()
    fleet = Fleet(specs, on_line=show, on_exit=failed)
    host, port = specs[0].gateway
    console.print(
        f"{len(specs)} devices of {specs[0].heap_bytes // 1024} kB, gateway {host}:{port}; Ctrl-C stops them",
        markup=False,
    )
    async with fleet:
        await ended.wait()
    raise SimulatorError("every device has ended", hint="see above why")
