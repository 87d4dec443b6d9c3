"""What the simulator says of a plan against what running it on this machine takes, in one run.

Speeds of operators, segments and pipes are measured while the plans run: in every round once everything, so that
whatever else the machine does disturbs both alike. Then each plan is simulated with the speeds of all rounds, and
its real latency is the lower quartile of its frames, as the speeds are of their measurements. At most two devices
of a plan work at the same time, since that many processors are easily had; a third only joins their results.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.report import Figure, emit, parser
from fita.simulator.inference.firmware import THIS_MACHINE
from fita.simulator.inference.frame import processors
from fita.simulator.inference.native_kernel import build_native
from fita.simulator.inference.speed import SpeedMeter
from fita.simulator.inference.split import InferenceDevice, SplitDevices
from fita.tinyml.execute import run_graph
from fita.tinyml.generate import random_inputs
from fita.tinyml.graph import Graph
from fita.tinyml.pack.packer import pack_split
from fita.tinyml.plan.cost import evaluate
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.link import WIFI
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.planner import setting_of
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.plan.simulate import simulate
from fita.tinyml.plan.speed import Speeds
from fita.tinyml.reader import read_model
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length

MODELS = Path(__file__).parents[1] / "models"
IMAGES = {"digits": 4, "digits_residual": 15, "pedestrians": 19}
"""The models, and how many of their operators still have rows to share."""
CHAINS = range(2, 7)
HEAP_BYTES = 2 << 20
WARM_UP, FRAMES = 2, 8


@dataclass
class Case:
    """A split of a model, running, and the latency of its frames."""

    name: str
    graph: Graph
    stages: tuple[Stage, ...]
    devices: SplitDevices
    latencies_us: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Some frames in a row. The first find processes that have slept, as later ones do not."""
        inputs = random_inputs(self.graph, 1)
        found = [self.devices.run(inputs, watched=False) for _ in range(WARM_UP + FRAMES)]
        self.latencies_us += [run.latency_us for run in found[WARM_UP:]]

    def check(self) -> None:
        inputs = random_inputs(self.graph, 1)
        wanted = run_graph(self.graph, inputs)
        for a, b in zip(self.devices.run(inputs).outputs, wanted, strict=True):
            if not np.array_equal(a, b):
                raise SystemExit(f"{self.name}: wrong bytes, so its latency says nothing")

    @property
    def real_ms(self) -> float:
        return float(np.percentile(self.latencies_us, 25)) / 1000

    def simulated_ms(self, speeds: Speeds) -> float:
        plan = plan_of(self.graph, self.stages, speeds)
        return simulate(plan, processors=len(processors())).latency_ns / 1e6


def splits(name: str, graph: Graph) -> Iterator[tuple[str, tuple[Stage, ...]]]:
    """On one device, in chains of parts with about the same work, and with rows shared by two."""
    end = len(graph.operators)
    yield "one device", (Stage(first=0, last=end),)
    for count in CHAINS:
        stages = tuple(Stage(first=a, last=b) for a, b in pairwise(cuts(graph, count)))
        yield f"chain of {count}", stages
    cut, kind = IMAGES[name], StageKind.ROWS
    shares = even_shares(share_length(graph, Stage(first=0, last=cut, kind=kind)), 2)
    yield "rows over 2, then 1", (Stage(first=0, last=cut, kind=kind, shares=shares), Stage(first=cut, last=end))


def cuts(graph: Graph, count: int) -> list[int]:
    """Where to cut into so many parts with about the same multiply-accumulates, each of at least one operator."""
    end = len(graph.operators)
    done = np.cumsum([operator.macs for operator in graph.operators])
    found = [0]
    for part in range(1, count):
        at = int(np.searchsorted(done, graph.macs * part / count)) + 1
        found.append(min(max(at, found[-1] + 1), end - count + part))
    return [*found, end]


def plan_of(graph: Graph, stages: Sequence[Stage], speeds: Speeds) -> Plan:
    """Every segment on a device of its own, inputs and results outside of all."""
    count = sum(len(stage.shares) for stage in stages)
    devices = [speeds.on(DeviceModel(name=f"device{n}", ram_bytes=HEAP_BYTES)) for n in range(count)]
    setting = setting_of(graph, devices, speeds.link or WIFI, input_at="", result_at="")
    placement = tuple((device.name,) for device in devices)
    return Plan(
        setting=setting,
        objective=Objective.LATENCY,
        stages=tuple(stages),
        placement=placement,
        figures=evaluate(setting, stages, placement),
        is_exact=False,
        gap=None,
    )


def start(stack: ExitStack, native: bytes | None) -> Iterator[Case]:
    """All cases with their processes running."""
    for name in IMAGES:
        graph = read_model((MODELS / f"{name}.tflite").read_bytes(), name)
        for words, stages in splits(name, graph):
            split = partition(graph, stages)
            count = len(split.segments)
            devices = [InferenceDevice(name=f"{name} {n}", heap_bytes=HEAP_BYTES) for n in range(count)]
            running = SplitDevices(split, pack_split(split), range(count), devices, native=native)
            case = Case(f"{name}, {words}", graph, stages, stack.enter_context(running))
            case.check()
            yield case


def compare(kernels: str, rounds: int) -> Iterator[Figure]:
    """Real latency of each case as a multiple of the simulated one, and the worst deviation."""
    native = build_native(THIS_MACHINE.architecture) if kernels == "native" else None
    with ExitStack() as stack:
        meter = stack.enter_context(SpeedMeter(native))
        cases = list(start(stack, native))
        for _ in range(rounds):
            meter.round()
            for case in cases:
                case.run()
        speeds = meter.speeds()
    found: list[tuple[float, float]] = []
    for case in cases:
        simulated_ms = case.simulated_ms(speeds)
        ratio = case.real_ms / simulated_ms
        found.append((case.real_ms, 100 * abs(ratio - 1)))
        yield Figure(f"{kernels}: {case.name}, {case.real_ms:.2f} ms: real / simulated", ratio, "")
    deviations = [deviation for _, deviation in found]
    yield Figure(f"{kernels}: median deviation", statistics.median(deviations), "%")
    long = [deviation for real_ms, deviation in found if real_ms >= 1]
    yield Figure(f"{kernels}: worst deviation of what takes 1 ms or more", max(long, default=0.0), "%", "<= 15")
    yield Figure(f"{kernels}: worst deviation", max(deviations), "%", "<= 15")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=11, metavar="N")
    chosen = options.parse_args()
    figures = [figure for kernels in ("viper", "native") for figure in compare(kernels, chosen.rounds)]
    emit("split_latency", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
