"""`fita model run`: a model in parts on emulated devices of this machine, held against the whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fita.cli.option import JsonOption

if TYPE_CHECKING:
    from fita.simulator.inference import DeviceUse, InferenceDevice, InferenceRun
    from fita.tinyml.graph import Graph
    from fita.tinyml.pack.fit import Fit
    from fita.tinyml.tensor import Array

RUNTIME_BYTES = 24 * 1024
"""Of an emulated device's heap: the interpreter's tables, the executor and its kernels, orders and answers."""


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
        bool, typer.Option("--native", help="Kernels in C, compiled now; else those in MicroPython's viper.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a model in parts on MicroPython processes with real heap limits, and compare with the whole model."""
    import numpy as np

    from fita.simulator.inference import SplitDevices
    from fita.simulator.native_kernel import build_native
    from fita.simulator.segment_firmware import THIS_MACHINE
    from fita.tinyml.execute import run_graph
    from fita.tinyml.pack.fit import fit_layers

    graph = read_graph(model)
    heaps = parse_heaps(devices)
    inputs = _inputs(graph, input_ or [])
    fit = fit_layers(graph, [heap - RUNTIME_BYTES for heap in heaps])
    kernels = build_native(THIS_MACHINE.architecture) if native else None
    with SplitDevices(fit.split, fit.packed, fit.placement, _devices(heaps), native=kernels) as running:
        found = running.run(inputs)
        uses = running.use()
    wanted = run_graph(graph, inputs)
    exact = all(np.array_equal(a, b) for a, b in zip(found.outputs, wanted, strict=True))
    if as_json:
        _print_json(graph, found, uses, exact)
    else:
        _print_tables(graph, fit, found, uses, exact)
    if not exact:
        raise typer.Exit(1)


def read_graph(path: Path) -> Graph:
    """A model file's graph; a `FitaError` when there is none."""
    from fita.base.errors import ConfigurationError
    from fita.tinyml.reader import read_model

    try:
        return read_model(path.read_bytes(), name=path.stem)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="give the path of a .tflite file") from error


def parse_heaps(text: str) -> list[int]:
    """Bytes of each device from ``512k,1M,128k*4``; `ConfigurationError` for anything else."""
    from fita.base.errors import ConfigurationError

    heaps: list[int] = []
    for part in text.split(","):
        match = _HEAP.fullmatch(part.strip())
        heap = int(match[1]) * (1024 * 1024 if match[2] in "mM" else 1024) if match else 0
        if match is None or not _LEAST_HEAP_BYTES <= heap <= _MOST_HEAP_BYTES or match[3] == "0":
            raise ConfigurationError(
                f"{part!r} says no devices", hint="write 512k,256k,128k*4; each has 32k to 256M"
            )
        heaps += [heap] * int(match[3] or 1)
    if len(heaps) > _COUNT_MAX:
        raise ConfigurationError(f"{len(heaps)} devices", hint=f"at most {_COUNT_MAX} run here")
    return heaps


_HEAP = re.compile(r"([0-9]{1,6})([kKmM])(?:\*([0-9]{1,2}))?")
_LEAST_HEAP_BYTES = 32 * 1024
_MOST_HEAP_BYTES = 256 * 1024 * 1024
_COUNT_MAX = 64


def _devices(heaps: Sequence[int]) -> list[InferenceDevice]:
    from fita.simulator.inference import InferenceDevice

    return [
        InferenceDevice(name=f"device{number} ({heap // 1024}k)", heap_bytes=heap)
        for number, heap in enumerate(heaps, start=1)
    ]


def _inputs(graph: Graph, paths: Sequence[Path]) -> list[Array]:
    """What the files hold, or random numbers that are the same every time."""
    import numpy as np

    from fita.base.errors import ConfigurationError
    from fita.tinyml.generate import random_inputs

    if not paths:
        return list(random_inputs(graph, 0))
    arrays = []
    for path in paths:
        try:
            arrays.append(np.load(path, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path}: {error}", hint="write one array with numpy.save") from error
    return arrays


def _print_json(graph: Graph, found: InferenceRun, uses: Sequence[DeviceUse], exact: bool) -> None:
    import msgspec

    document: dict[str, Any] = {
        "model": graph.name,
        "exact": exact,
        "outputs": {
            tensor.name: array.tolist() for tensor, array in zip(graph.outputs, found.outputs, strict=True)
        },
        "segments": found.segments,
        "devices": uses,
    }
    typer.echo(msgspec.json.encode(document).decode())


def _print_tables(graph: Graph, fit: Fit, found: InferenceRun, uses: Sequence[DeviceUse], exact: bool) -> None:
    from rich.console import Console

    from fita.cli.table import print_table

    segments = [
        (
            str(took.segment),
            took.device,
            str(len(packed.segment.operators)),
            f"{took.received_bytes} B",
            f"{took.sent_bytes} B",
            f"{took.run_us / 1000:.1f} ms",
        )
        for packed, took in zip(fit.packed, found.segments, strict=True)
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
    verdict = "the same bytes as" if exact else "NOT the same bytes as"
    console.print(f"{verdict} the whole model in one piece", style="green" if exact else "bold red")


def _shown(array: Array) -> str:
    import numpy as np

    return np.array2string(array.reshape(-1), threshold=32, max_line_width=100, separator=", ")
