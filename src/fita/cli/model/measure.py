"""`fita model measure`: how fast emulated devices are on this machine, as a file for `plan` and `run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fita.cli.option import JsonOption

if TYPE_CHECKING:
    from fita.tinyml.plan.link import Link
    from fita.tinyml.plan.speed import Speeds

SpeedsOption = Annotated[
    Path | None,
    typer.Option(
        "--speeds",
        help="Measured speeds, as `fita model measure` writes them.",
        show_default="none",
        dir_okay=False,
    ),
]


def measure(
    native: Annotated[
        bool, typer.Option("--native", help="Kernels in C, compiled now; else those in MicroPython's viper.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Write the speeds here.", dir_okay=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the operators and the pipes of emulated devices on this machine. Takes some seconds."""
    from fita.simulator.inference.speed import measure_speeds
    from fita.tinyml.plan.speed import encode_speeds

    if output is not None:
        _require_writable(output)
    speeds = measure_speeds(native=native)
    content = encode_speeds(speeds)
    if output is not None:
        output.write_bytes(content)
    if as_json:
        typer.echo(content.decode(), nl=False)
        return
    _print(speeds)
    if output is not None:
        typer.echo(f"speeds: {output}")


def _print(speeds: Speeds) -> None:
    from fita.cli.table import print_table

    rows = [(name.value, f"{ns:.3g} ns") for name, ns in speeds.ns_per_unit.items()]
    rows.append(("(an operator)", _microseconds(speeds.operator_ns)))
    print_table(("WORK", "A UNIT"), rows, empty="Nothing was measured.")
    typer.echo()
    link = speeds.link
    if link is not None:
        rate = f"{link.bandwidth_bytes_per_s / 1e6:.0f} MB/s"
        message, order = (_microseconds(1e9 * each_s) for each_s in (link.message_s, link.order_s))
        typer.echo(f"{link.name}: {rate}, {message} a message, {order} to have a segment run")


def _microseconds(ns: float) -> str:
    return f"{ns / 1000:.1f} us"


def _require_writable(path: Path) -> None:
    """`ConfigurationError` before anything is measured for a file that cannot be written."""
    from fita.base.errors import ConfigurationError

    is_new = not path.exists()
    try:
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="give a path that can be written") from error


def read_speeds(path: Path, *, native: bool = False) -> Speeds:
    """The speeds in a file, which says of which kernels. `ConfigurationError` for none, or if not `native`."""
    from fita.base.errors import ConfigurationError
    from fita.tinyml.plan.speed import decode_speeds

    try:
        speeds = decode_speeds(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}", hint="write one by `fita model measure --output`"
        ) from error
    if native and speeds.kernels != "native":
        raise ConfigurationError(
            f"{path} holds for {speeds.kernels} kernels",
            hint="leave --native out, or measure again with --native",
        )
    return speeds


def link_of(name: str, speeds: Speeds | None) -> Link:
    """The link of that name: the one that the speeds were measured with, else a known one."""
    from fita.tinyml.plan.link import link_named

    if speeds is not None and speeds.link is not None and speeds.link.name == name:
        return speeds.link
    return link_named(name)
