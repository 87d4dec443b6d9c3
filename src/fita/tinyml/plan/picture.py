"""A plan as an SVG: the operators and their cuts, devices filling up, bytes on links, one frame by time.

Plain shapes and text, no scripts and nothing from outside; readable by itself and on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from fita.tinyml.plan.cost import DeviceUse
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.plan.simulate import Simulation, simulate
from fita.tinyml.split.partition import stage_of_segments
from fita.tinyml.split.stage import StageKind

_WIDTH = 960
_LEFT = 150
_RIGHT = 40
_ROW = 26
_LETTER = 5.6
_FRAMES = 4
"""Shown where it is about many in a row."""
_COLOURS = ("#2f6f9f", "#b5651d", "#3d8b53", "#8e5ea2", "#a8893a", "#b0496a", "#4d7c7c", "#6b6b9c")
_RESERVE = "#c9c9c9"
_INK, _FAINT = "#222222", "#8a8a8a"
_KIND_WORDS = {
    StageKind.WHOLE: "",
    StageKind.ROWS: "row slabs",
    StageKind.OUTPUT_CHANNELS: "output channels",
    StageKind.INPUT_CHANNELS: "input channels",
}


@dataclass(slots=True)
class _Canvas:
    """Lines of SVG and how far down they reach."""

    lines: list[str] = field(default_factory=list)
    y: float = 20.0

    def box(
        self, x: float, width: float, colour: str, *, title: str, height: float = 18, opacity: float = 1
    ) -> None:
        self.lines.append(
            f'<rect x="{x:.1f}" y="{self.y:.1f}" width="{max(width, 0.6):.1f}" height="{height:.1f}" '
            f'fill="{colour}" fill-opacity="{opacity:g}"><title>{escape(title)}</title></rect>'
        )

    def text(self, x: float, words: str, *, size: int = 12, colour: str = _INK, anchor: str = "start") -> None:
        self.lines.append(
            f'<text x="{x:.1f}" y="{self.y + 13:.1f}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}">{escape(words)}</text>'
        )

    def heading(self, words: str) -> None:
        self.y += 8
        self.text(10, words, size=14)
        self.y += _ROW


def draw(plan: Plan) -> str:
    """The picture; the same plan gives the same text."""
    canvas = _Canvas()
    figures = plan.figures
    canvas.text(10, f"{plan.setting.graph.name}: {plan.objective.value} over {plan.setting.link.name}", size=17)
    canvas.y += _ROW
    canvas.text(
        10,
        f"{figures.latency_ms:.1f} ms a frame, {figures.frames_per_s:.2f} frames/s, "
        f"{figures.device_count} devices, {size_words(figures.air_bytes)} in the air",
        colour=_FAINT,
    )
    canvas.y += _ROW
    _operators(canvas, plan)
    _devices(canvas, plan)
    _links(canvas, plan)
    frames = _FRAMES if plan.objective is Objective.THROUGHPUT else 1
    _timeline(canvas, plan, simulate(plan, frames=frames))
    height = canvas.y + 16
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" font-family="sans-serif">'
    )
    background = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    return "\n".join([head, background, *canvas.lines, "</svg>", ""])


def size_words(size_bytes: int) -> str:
    """Bytes as people say them."""
    return f"{size_bytes} B" if size_bytes < 10_000 else f"{size_bytes / 1024:.0f} KiB"


def colour_of(stage: int) -> str:
    return _COLOURS[stage % len(_COLOURS)]


def stage_words(plan: Plan, number: int) -> str:
    """A stage in words: its operators and how they are shared out."""
    stage = plan.stages[number]
    span = f"operators {stage.first}-{stage.last - 1}" if stage.last > stage.first else "sum"
    if stage.last - stage.first == 1:
        span = f"operator {stage.first}"
    words = _KIND_WORDS[stage.kind]
    if words:
        span += f", {len(stage.shares)} {words}"
    return f"{span}, {stage.copies} copies" if stage.copies > 1 else span


def _operators(canvas: _Canvas, plan: Plan) -> None:
    """One block for each operator, as wide as its part of the weights, as high as its part of the work."""
    canvas.heading("Operators: width is weights, height is work")
    operators = plan.setting.graph.operators
    room = _WIDTH - _LEFT - _RIGHT - 2 * len(operators)
    weights = max(1, sum(operator.weight_bytes for operator in operators))
    most = max(1, *(operator.macs for operator in operators))
    base, x = canvas.y + 44, float(_LEFT)
    for number, stage in enumerate(plan.stages):
        start = x
        for place in range(stage.first, stage.last):
            operator = operators[place]
            width = max(3.0, 0.9 * room * operator.weight_bytes / weights)
            height = max(3.0, 44 * operator.macs / most)
            canvas.y = base - height
            title = f"{operator.name}: {operator.macs} units, {operator.weight_bytes} bytes"
            canvas.box(x, width, colour_of(number), title=title, height=height)
            x += width + 2
        canvas.y = base
        words = stage_words(plan, number)
        if x - start > _LETTER * len(words):
            canvas.text(start, words, size=10, colour=colour_of(number))
    canvas.y = base + _ROW


def _devices(canvas: _Canvas, plan: Plan) -> None:
    canvas.heading("Devices: weights, activations, tables; the reserve in grey")
    devices = plan.setting.by_name
    uses = {use.device: use for use in plan.figures.uses}
    largest = max(devices[name].ram_bytes for name in devices)
    scale = (_WIDTH - _LEFT - _RIGHT - 110) / largest
    shown = [device for device in plan.setting.devices if device.name in uses]
    for device in shown:
        use = uses[device.name]
        full = scale * device.ram_bytes
        canvas.text(10, device.name)
        canvas.box(_LEFT, full, "#eeeeee", title=f"{device.name}: {device.ram_bytes} bytes of RAM")
        parts = [(use.arena_bytes, 0.7, "activations"), (use.table_bytes, 0.45, "tables")]
        if device.weights_in_ram:
            parts.insert(0, (use.weight_bytes, 1.0, "weights"))
        x = float(_LEFT)
        canvas.box(
            x, scale * device.reserve_ram_bytes, _RESERVE, title=f"reserve: {device.reserve_ram_bytes} bytes"
        )
        x += scale * device.reserve_ram_bytes
        colour = colour_of(_stage_on(plan, device.name))
        for size_bytes, opacity, what in parts:
            canvas.box(x, scale * size_bytes, colour, title=f"{what}: {size_bytes} bytes", opacity=opacity)
            x += scale * size_bytes
        canvas.text(_LEFT + full + 6, _room(use, device.ram_bytes - device.reserve_ram_bytes), size=10)
        canvas.y += _ROW
    idle = len(devices) - len(shown)
    if idle:
        canvas.text(10, "1 more stays free" if idle == 1 else f"{idle} more stay free", colour=_FAINT)
        canvas.y += _ROW


def _room(use: DeviceUse, free: int) -> str:
    return f"{size_words(use.ram_bytes)} of {size_words(free)}"


def _stage_on(plan: Plan, device: str) -> int:
    segments = plan.segments_of(device)
    return stage_of_segments(plan.stages)[segments[0]][0]


def _links(canvas: _Canvas, plan: Plan) -> None:
    """Bytes between every two devices of a frame, the most first."""
    pairs: dict[tuple[str, str], int] = {}
    setting = plan.setting
    for transfer in plan.split.transfers:
        source = setting.input_at if transfer.producer < 0 else plan.placement[transfer.producer][0]
        target = setting.result_at if transfer.consumer < 0 else plan.placement[transfer.consumer][0]
        if source != target:
            pairs[source, target] = pairs.get((source, target), 0) + transfer.size_bytes
    if not pairs:
        return
    canvas.heading("Bytes between devices, for each frame")
    most = max(pairs.values())
    for (source, target), size_bytes in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        canvas.text(10, f"{source or 'outside'} → {target or 'outside'}", size=11)
        width = (_WIDTH - _LEFT - _RIGHT - 110) * size_bytes / most
        canvas.box(_LEFT + 60, width, "#7a8fa6", title=f"{size_bytes} bytes", height=10)
        canvas.text(_LEFT + 66 + width, size_words(size_bytes), size=10)
        canvas.y += 18


def _timeline(canvas: _Canvas, plan: Plan, simulation: Simulation) -> None:
    frames = len(simulation.latencies_ns)
    canvas.heading("One frame by time" if frames == 1 else f"{frames} frames by time, the first the darkest")
    end = max(1, *simulation.latencies_ns)
    scale = (_WIDTH - _LEFT - _RIGHT) / end
    stages = stage_of_segments(plan.stages)
    rows: Sequence[str] = [use.device for use in plan.figures.uses]
    for name in rows:
        canvas.text(10, name)
        for run in simulation.runs:
            if run.device == name:
                title = f"segment {run.segment}: {(run.stop_ns - run.start_ns) / 1e6:.2f} ms"
                colour = colour_of(stages[run.segment][0])
                width = scale * (run.stop_ns - run.start_ns)
                opacity = 1.0 - 0.7 * run.frame / frames
                canvas.box(_LEFT + scale * run.start_ns, width, colour, title=title, opacity=opacity)
        canvas.y += _ROW
    canvas.text(10, "air" if plan.setting.link.shared else "links")
    for message in simulation.messages:
        width = scale * (message.stop_ns - message.start_ns)
        title = f"{message.size_bytes} bytes to {message.device or 'outside'}"
        canvas.box(_LEFT + scale * message.start_ns, width, "#7a8fa6", title=title)
    canvas.y += _ROW
    for part in range(5):
        canvas.text(
            _LEFT + (_WIDTH - _LEFT - _RIGHT) * part / 4, f"{end * part / 4e6:.0f} ms", size=10, anchor="middle"
        )
    canvas.y += _ROW
