"""`fita model plan` and `fita model inspect`: what a model needs, and how it would be split. Works offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fita.cli.model.measure import SpeedsOption, link_of, read_speeds
from fita.cli.model.run import read_graph
from fita.cli.option import JsonOption

if TYPE_CHECKING:
    from rich.console import Console

    from fita.tinyml.graph import Graph
    from fita.tinyml.plan.device import DeviceModel
    from fita.tinyml.plan.plan import Plan
    from fita.tinyml.plan.speed import Speeds

ModelArgument = Annotated[Path, typer.Argument(help="A .tflite file, quantised to int8.", dir_okay=False)]

_STATES, _EVALUATIONS, _MOVES = 400_000, 10_000, 200
"""A person waits a second for a proof; the planner inside a control loop does not."""


def plan(
    model: ModelArgument,
    devices: Annotated[
        str, typer.Option("--devices", help="RAM of each device: 512k,256k,128k*4; a server: gate=1G@edge.")
    ] = "512k,256k,128k*4",
    link: Annotated[
        str, typer.Option("--link", help="wifi, espnow, 802.15.4 or ethernet, or the one of --speeds.")
    ] = "wifi",
    objective: Annotated[
        str, typer.Option("--objective", help="latency, throughput, energy or devices.")
    ] = "latency",
    flash: Annotated[
        str,
        typer.Option(
            "--flash", help="Flash of each device, such as 1M, for weights.", show_default="weights in RAM"
        ),
    ] = "",
    native: Annotated[bool, typer.Option("--native", help="Speeds of kernels in C, not in viper.")] = False,
    speeds: SpeedsOption = None,
    input_at: Annotated[
        str, typer.Option("--input-at", help="Device where inputs are born.", show_default="the first")
    ] = "",
    result_at: Annotated[
        str, typer.Option("--result-at", help="Device where results are wanted.", show_default="as --input-at")
    ] = "",
    lost: Annotated[bool, typer.Option("--lost", help="Also plan for the loss of each device.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write a picture of the plan.", dir_okay=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a model over devices: which operators run where, what that takes and how long."""
    from fita.base.errors import ConfigurationError
    from fita.tinyml.plan.planner import plan_model
    from fita.tinyml.plan.search.chain import Objective, SearchLimits

    if objective not in {each.value for each in Objective}:
        raise ConfigurationError(
            f"no objective is called {objective!r}", hint=f"use one of {', '.join(Objective)}"
        )
    graph = read_graph(model)
    measured = read_speeds(speeds, native=native) if speeds is not None else None
    found = plan_model(
        graph,
        _devices(devices, flash, measured, native=native),
        link_of(link, measured),
        Objective(objective),
        input_at=input_at or None,
        result_at=result_at or None,
        limits=SearchLimits(states=_STATES, evaluations=_EVALUATIONS, moves=_MOVES),
    )
    if svg is not None:
        _write_picture(found, svg)
    if as_json:
        _print_json(found, lost=lost)
        return
    _print_plan(found, lost=lost)
    if svg is not None:
        typer.echo(f"picture: {svg}")


def _devices(text: str, flash: str, measured: Speeds | None, *, native: bool) -> list[DeviceModel]:
    from fita.tinyml.plan.device import NATIVE, VIPER, parse_devices

    parsed = parse_devices(text, flash_bytes=_flash_bytes(flash), speeds=NATIVE if native else VIPER)
    return [measured.on(device) if measured is not None else device for device in parsed]


def _flash_bytes(text: str) -> int | None:
    from fita.tinyml.plan.device import parse_size

    return parse_size(text) if text else None


def _write_picture(plan: Plan, path: Path) -> None:
    from fita.base.errors import ConfigurationError
    from fita.tinyml.plan.picture import draw

    try:
        path.write_text(draw(plan), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="give a path that can be written") from error


def _print_plan(plan: Plan, *, lost: bool) -> None:
    from rich.console import Console

    from fita.tinyml.plan.simulate import simulate

    console = Console(highlight=False, soft_wrap=True)
    figures, setting = plan.figures, plan.setting
    _print_segments(console, plan)
    _print_devices(console, plan)
    simulated = simulate(plan)
    console.print(
        f"[bold]{figures.latency_ms:.1f} ms[/] a frame ({simulated.latency_ns / 1e6:.1f} ms simulated), "
        f"{figures.frames_per_s:.2f} frames/s, {figures.energy_mj:.2f} mJ, {figures.air_bytes} bytes over "
        f"{setting.link.name}"
    )
    _print_proof(console, plan)
    if lost:
        _print_losses(console, plan)


def _print_proof(console: Console, plan: Plan) -> None:
    if plan.is_exact:
        console.print("proven best of all chains of disjoint devices", style="green")
        return
    if plan.gap is None:
        console.print("no chain of disjoint devices fits; how much better another plan could be is not known")
        return
    if not plan.is_chain:
        console.print("some devices take part in several stages")
    more = f" by more than {plan.gap:.0%}" if plan.gap else ""
    console.print(f"no chain of disjoint devices is better{more}", style="yellow" if plan.gap else "green")


def _print_segments(console: Console, plan: Plan) -> None:
    from rich.table import Table

    from fita.tinyml.plan.picture import stage_words
    from fita.tinyml.split.partition import stage_of_segments

    table = Table("SEGMENT", "STAGE", "DEVICE", "OPERATORS", "WEIGHTS", "IN", "OUT", box=None, pad_edge=False)
    for number, (stage, _) in enumerate(stage_of_segments(plan.stages)):
        segment = plan.split.segments[number]
        names = ", ".join(plan.placement[number])
        table.add_row(
            str(number),
            stage_words(plan, stage),
            names,
            str(len(segment.operators)),
            f"{segment.weight_bytes} B",
            f"{sum(tensor.size_bytes for tensor in segment.inputs)} B",
            f"{sum(tensor.size_bytes for tensor in segment.outputs)} B",
        )
    console.print(table)
    console.print()


def _print_devices(console: Console, plan: Plan) -> None:
    from rich.table import Table

    devices = plan.setting.by_name
    table = Table("DEVICE", "RAM", "OF", "FLASH", "BUSY", "FULL", box=None, pad_edge=False)
    for use in plan.figures.uses:
        device = devices[use.device]
        share = use.ram_bytes / max(1, device.free_ram_bytes)
        table.add_row(
            use.device,
            f"{use.ram_bytes} B",
            f"{device.free_ram_bytes} B",
            "-" if device.weights_in_ram else f"{use.flash_bytes} B",
            f"{use.busy_ns / 1e6:.1f} ms",
            f"{'#' * round(20 * share):<20} {share:.0%}",
        )
    console.print(table)
    idle = len(plan.setting.devices) - len(plan.figures.uses)
    if idle:
        console.print("1 more stays free" if idle == 1 else f"{idle} more stay free")
    console.print()


def _print_losses(console: Console, plan: Plan) -> None:
    from fita.tinyml.plan.replan import plans_for_losses

    console.print()
    for name, answer in plans_for_losses(plan).items():
        if answer.plan is None:
            console.print(f"without {name}: {answer.reason}")
        else:
            console.print(
                f"without {name}: {answer.plan.figures.latency_ms:.1f} ms, "
                f"{answer.moved_bytes} bytes of weights move to {', '.join(answer.changed) or 'nobody'}"
            )


def _print_json(plan: Plan, *, lost: bool) -> None:
    import msgspec

    from fita.tinyml.plan.plan import document_of

    document = msgspec.to_builtins(document_of(plan)) | ({"losses": _losses(plan)} if lost else {})
    typer.echo(msgspec.json.encode(document).decode())


def _losses(plan: Plan) -> dict[str, object]:
    """By the device that is lost: another plan, or why there is none, and what has to move."""
    from fita.tinyml.plan.plan import document_of
    from fita.tinyml.plan.replan import plans_for_losses

    return {
        name: {
            "plan": None if answer.plan is None else document_of(answer.plan),
            "moved_bytes": answer.moved_bytes,
            "changed": answer.changed,
            "reason": answer.reason,
        }
        for name, answer in plans_for_losses(plan).items()
    }


def inspect(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show a model's operators, their shapes, work and weights, and what the whole needs."""
    import msgspec

    graph = read_graph(model)
    if as_json:
        typer.echo(msgspec.json.encode(_description(graph)).decode())
        return
    from rich.console import Console
    from rich.table import Table

    from fita.tinyml.graph import peak_activation_bytes

    console = Console(highlight=False, soft_wrap=True)
    table = Table("", "OPERATOR", "INPUT", "OUTPUT", "UNITS", "WEIGHTS", "CLASS", box=None, pad_edge=False)
    for place, operator in enumerate(graph.operators):
        shapes = [tensor.shape for tensor in operator.activation_inputs]
        table.add_row(
            str(place),
            operator.name.split(" ", 1)[0],
            " ".join(map(_shape_words, shapes)),
            _shape_words(operator.output.shape),
            f"{operator.macs}",
            f"{operator.weight_bytes} B",
            operator.operator_class.value,
        )
    console.print(table)
    console.print()
    console.print(
        f"{graph.name}: {graph.macs} multiply-accumulates, {graph.weight_bytes} bytes of weights, "
        f"{peak_activation_bytes(graph)} bytes of activations at the peak; every operator runs",
        markup=False,
    )


def _shape_words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def _description(graph: Graph) -> dict[str, object]:
    from fita.tinyml.graph import peak_activation_bytes

    return {
        "model": graph.name,
        "digest": graph.digest,
        "macs": graph.macs,
        "weight_bytes": graph.weight_bytes,
        "peak_activation_bytes": peak_activation_bytes(graph),
        "inputs": [{"name": each.name, "shape": each.shape, "type": each.dtype} for each in graph.inputs],
        "outputs": [{"name": each.name, "shape": each.shape, "type": each.dtype} for each in graph.outputs],
        "operators": [
            {
                "kind": each.kind,
                "name": each.name,
                "inputs": [tensor.shape for tensor in each.activation_inputs],
                "output": each.output.shape,
                "units": each.macs,
                "weight_bytes": each.weight_bytes,
                "class": each.operator_class.value,
            }
            for each in graph.operators
        ],
    }
