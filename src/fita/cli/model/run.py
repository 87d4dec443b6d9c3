"""`fita model run`: a model in parts on emulated devices of this machine, held against the whole."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fita.cli.model.measure import SpeedsOption, read_speeds
from fita.cli.model.sample import read_inputs
from fita.cli.option import JsonOption

if TYPE_CHECKING:
    from fita.simulator.inference.split import DeviceUse, InferenceDevice, InferenceRun, SegmentRun
    from fita.tinyml.graph import Graph
    from fita.tinyml.pack.packer import PackedSegment
    from fita.tinyml.plan.device import DeviceModel
    from fita.tinyml.plan.plan import Plan
    from fita.tinyml.plan.speed import Speeds
    from fita.tinyml.tensor import Array

RUNTIME_BYTES = 27 * 1024
NATIVE_RUNTIME_BYTES = 30 * 1024
"""Of an emulated device's heap: the executor, its kernels in viper and perhaps in C, orders and answers, and the
gaps between them that hold no segment. The heap's own table comes on top."""


def run(
    model: Annotated[Path, typer.Argument(help="A .tflite file, quantised to int8.", dir_okay=False)],
    devices: Annotated[
        str, typer.Option("--devices", help="Heap of each device: 512k,256k,128k*4 (k = 1024 bytes).")
    ] = "512k,256k,128k*4",
    input_: Annotated[
        list[Path] | None,
        typer.Option("--input", help="An .npy file for each input of the model.", show_default="random numbers"),
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Kernels in C, compiled now; else in viper, or as --speeds says.")
    ] = False,
    speeds: SpeedsOption = None,
    frames: Annotated[
        int, typer.Option("--frames", help="Frames of which times are the medians.", min=1, max=10_000)
    ] = 5,
    as_json: JsonOption = False,
) -> None:
    """Run a model in parts on MicroPython processes with real heap limits, and compare with the whole model.

    With the speeds of this machine the plan is made for it, and the simulated latency stands beside the real one.
    """
    import numpy as np

    from fita.simulator.inference.firmware import THIS_MACHINE
    from fita.simulator.inference.native_kernel import build_native
    from fita.simulator.inference.split import SplitDevices
    from fita.tinyml.execute import run_graph
    from fita.tinyml.pack.packer import pack_split

    graph = read_graph(model)
    measured = _measured(speeds, native=native) if speeds is not None else None
    native = native or (measured is not None and measured.kernels == "native")
    emulated = emulated_devices(devices, native=native)
    inputs = read_inputs(graph, input_ or [])
    plan = _plan(graph, emulated, measured)
    packed = pack_split(plan.split)
    names = [device.name for device in emulated]
    placement = [names.index(copies[0]) for copies in plan.placement]
    kernels = build_native(THIS_MACHINE.architecture) if native else None
    with SplitDevices(plan.split, packed, placement, _heaps(emulated), native=kernels) as running:
        found = running.run(inputs)
        again = [running.run(inputs, watched=False) for _ in range(frames)]
        uses = running.use()
    wanted = run_graph(graph, inputs)
    exact = all(map(np.array_equal, chain(*(frame.outputs for frame in (found, *again))), cycle(wanted)))
    timing = _Timing(
        frames=frames,
        latency_ms=statistics.median(frame.latency_us for frame in again) / 1000,
        simulated_ms=_simulated_ms(plan) if measured is not None else None,
        most_at_once=max(frame.most_at_once for frame in again),
    )
    found = replace(found, segments=with_median_times(found.segments, again))
    if as_json:
        _print_json(graph, found, uses, timing, exact=exact)
    else:
        _print_tables(graph, packed, found, uses)
        _print_verdict(timing, exact=exact)
    if not exact:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    """The median latency of some frames, and what the simulator says where it knows this machine's speeds."""

    frames: int
    latency_ms: float
    simulated_ms: float | None
    most_at_once: int


def with_median_times(segments: Sequence[SegmentRun], frames: Sequence[InferenceRun]) -> tuple[SegmentRun, ...]:
    """Each with the median of its times in the frames, none of which watched the heap."""
    times = [[frame.segments[place].run_us for frame in frames] for place in range(len(segments))]
    return tuple(
        replace(segment, run_us=round(statistics.median(each)))
        for segment, each in zip(segments, times, strict=True)
    )


def _measured(path: Path, *, native: bool) -> Speeds:
    """The speeds of this machine, with its link."""
    from fita.base.errors import ConfigurationError

    speeds = read_speeds(path, native=native)
    if speeds.link is None:
        raise ConfigurationError(f"{path} describes no link", hint="write it by `fita model measure --output`")
    return speeds


def _plan(graph: Graph, devices: Sequence[DeviceModel], speeds: Speeds | None) -> Plan:
    """For this machine where its speeds are given: inputs and results are outside of all devices, as they are."""
    from fita.tinyml.plan.planner import plan_model

    if speeds is None or speeds.link is None:
        return plan_model(graph, devices)
    return plan_model(graph, [speeds.on(device) for device in devices], speeds.link, input_at="", result_at="")


def _simulated_ms(plan: Plan) -> float:
    """One frame on this machine, whose processors the devices share."""
    from fita.simulator.inference.frame import processors
    from fita.tinyml.plan.simulate import simulate

    return simulate(plan, processors=len(processors())).latency_ns / 1e6


def read_graph(path: Path) -> Graph:
    """A model file's graph; a `FitaError` when there is none."""
    from fita.base.errors import ConfigurationError
    from fita.tinyml.reader import read_model

    try:
        return read_model(path.read_bytes(), name=path.stem)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="give the path of a .tflite file") from error


def emulated_devices(text: str, *, native: bool = False) -> list[DeviceModel]:
    """Devices from ``512k,256k,128k*4`` whose weights lie in RAM; `ConfigurationError` for none, or too many."""
    from fita.base.errors import ConfigurationError
    from fita.tinyml.plan.device import parse_devices

    devices = parse_devices(text)
    heaps = [device.ram_bytes for device in devices]
    if len(devices) > _COUNT_MAX or min(heaps) < _LEAST_HEAP_BYTES or sum(heaps) > _MOST_HEAP_BYTES:
        raise ConfigurationError(
            f"{_counted(len(devices))} with {sum(heaps) // 1024}k in all, {min(heaps) // 1024}k the smallest",
            hint=f"up to {_COUNT_MAX} of at least 32k run here, with 1G in all",
        )
    runtime = NATIVE_RUNTIME_BYTES if native else RUNTIME_BYTES
    return [
        replace(device, reserve_ram_bytes=runtime + device.ram_bytes // _HEAP_TABLE_SHARE) for device in devices
    ]


def _counted(devices: int) -> str:
    return "1 device" if devices == 1 else f"{devices} devices"


_LEAST_HEAP_BYTES = 32 * 1024
_MOST_HEAP_BYTES = 1024**3
_COUNT_MAX = 64
_HEAP_TABLE_SHARE = 64
"""MicroPython keeps a table of its heap's blocks inside the heap."""


def _heaps(devices: Sequence[DeviceModel]) -> list[InferenceDevice]:
    from fita.simulator.inference.split import InferenceDevice

    return [
        InferenceDevice(name=f"{device.name} ({device.ram_bytes // 1024}k)", heap_bytes=device.ram_bytes)
        for device in devices
    ]


def _print_json(
    graph: Graph, found: InferenceRun, uses: Sequence[DeviceUse], timing: _Timing, *, exact: bool
) -> None:
    import msgspec

    document: dict[str, Any] = {
        "model": graph.name,
        "exact": exact,
        "frames": timing.frames,
        "latency_ms": timing.latency_ms,
        "simulated_ms": timing.simulated_ms,
        "most_at_once": timing.most_at_once,
        "outputs": {
            tensor.name: array.tolist() for tensor, array in zip(graph.outputs, found.outputs, strict=True)
        },
        "segments": found.segments,
        "devices": uses,
    }
    typer.echo(msgspec.json.encode(document).decode())


def _print_tables(
    graph: Graph, packed: Sequence[PackedSegment], found: InferenceRun, uses: Sequence[DeviceUse]
) -> None:
    from rich.console import Console

    from fita.cli.table import print_table

    segments = [
        (
            str(took.segment),
            took.device,
            str(len(part.segment.operators)),
            f"{took.received_bytes} B",
            f"{took.sent_bytes} B",
            f"{took.run_us / 1000:.1f} ms",
        )
        for part, took in zip(packed, found.segments, strict=True)
    ]
    devices = [
        (
            use.device.name,
            ", ".join(map(str, use.segments)),
            f"{use.promised_bytes} B",
            f"{use.heap.peak_bytes} B",
            f"{use.heap.free_bytes} B",
            "native" if use.native else "viper",
        )
        for use in uses
    ]
    print_table(("SEGMENT", "DEVICE", "OPERATORS", "IN", "OUT", "TIME"), segments, empty="No segments.")
    typer.echo()
    print_table(("DEVICE", "SEGMENTS", "PROMISED", "PEAK", "FREE", "KERNELS"), devices, empty="No devices.")
    typer.echo()
    console = Console(highlight=False, soft_wrap=True)
    for tensor, array in zip(graph.outputs, found.outputs, strict=True):
        console.print(f"{tensor.name}: {_shown(array)}", markup=False)


def _print_verdict(timing: _Timing, *, exact: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    simulated = "speeds of `fita model measure` would tell what to expect"
    if timing.simulated_ms is not None:
        ratio = timing.latency_ms / timing.simulated_ms
        simulated = f"{timing.simulated_ms:.2f} ms simulated, {ratio:.2f} times that"
    console.print(
        f"[bold]{timing.latency_ms:.2f} ms[/] a frame ({simulated}), "
        f"{_counted(timing.most_at_once)} at work at once; "
        f"all times are medians of {timing.frames}"
    )
    verdict = "the same bytes as" if exact else "NOT the same bytes as"
    console.print(f"{verdict} the whole model in one piece", style="green" if exact else "bold red")


def _shown(array: Array) -> str:
    import numpy as np

    return np.array2string(array.reshape(-1), threshold=32, max_line_width=100, separator=", ")
