"""A plan: the answer of the planner, and what of it others read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec

from fita.tinyml.plan.cost import Figures, Placement, Setting
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.segment import SplitModel
from fita.tinyml.split.partition import partition, stage_of_segments
from fita.tinyml.split.stage import Stage

VERSION = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """Stages of a graph and, for each segment of them, the devices of its copies, by name.

    `is_exact`: proven to be the best of all chains in which each device takes part in one stage, up to eight
    devices of one kind share a stage out evenly, up to three operators follow a sum where it is formed, and wholes
    are what is copied, over devices of one kind where there are more than twelve. Otherwise no such chain is
    better by more than the share `gap` of the cost: 0 for a plan that goes beyond chains and is proven to be no
    worse, None when no chain was found that fits.
    `standby` names devices that have memory for a segment beside their own, in case its device is lost.
    """

    setting: Setting
    objective: Objective
    stages: tuple[Stage, ...]
    placement: Placement
    figures: Figures
    is_exact: bool
    gap: float | None
    standby: dict[int, str] = field(default_factory=dict)

    @property
    def graph_digest(self) -> str:
        return self.setting.graph.digest

    @cached_property
    def split(self) -> SplitModel:
        """The segments, in the order of `placement`, and the transfers between them."""
        return partition(self.setting.graph, self.stages, self.setting.table.cutter)

    def segments_of(self, device: str) -> tuple[int, ...]:
        return tuple(number for number, names in enumerate(self.placement) if device in names)

    @property
    def devices_used(self) -> tuple[str, ...]:
        return tuple(use.device for use in self.figures.uses)

    @property
    def is_chain(self) -> bool:
        """Whether each device takes part in one stage."""
        hosted = [name for names in self.placement for name in names]
        return len(set(hosted)) == len(hosted)

    def with_standby(self, standby: dict[int, str]) -> Plan:
        return replace(self, standby=standby)


class SegmentDocument(msgspec.Struct, frozen=True):
    """One segment of a plan: operators first..last-1 of the graph, the share start..stop, where it runs."""

    stage: int
    first: int
    last: int
    kind: str
    start: int
    stop: int
    devices: tuple[str, ...]
    standby: str


class UseDocument(msgspec.Struct, frozen=True):
    device: str
    ram_bytes: int
    free_ram_bytes: int
    flash_bytes: int
    free_flash_bytes: int
    busy_ms: float


class PlanDocument(msgspec.Struct, frozen=True):
    """A plan as JSON. Readers refuse a `version` that they do not know."""

    version: int
    model: str
    graph_digest: str
    objective: str
    link: str
    input_at: str
    result_at: str
    exact: bool
    gap: float | None
    latency_ms: float
    frames_per_s: float
    energy_mj: float
    air_bytes: int
    segments: tuple[SegmentDocument, ...]
    devices: tuple[UseDocument, ...]


def document_of(plan: Plan) -> PlanDocument:
    """The plan without the model."""
    setting, figures = plan.setting, plan.figures
    devices = setting.by_name
    return PlanDocument(
        version=VERSION,
        model=setting.graph.name,
        graph_digest=plan.graph_digest,
        objective=plan.objective.value,
        link=setting.link.name,
        input_at=setting.input_at,
        result_at=setting.result_at,
        exact=plan.is_exact,
        gap=plan.gap,
        latency_ms=figures.latency_ms,
        frames_per_s=figures.frames_per_s,
        energy_mj=figures.energy_mj,
        air_bytes=figures.air_bytes,
        segments=tuple(_segment_documents(plan)),
        devices=tuple(
            UseDocument(
                use.device,
                use.ram_bytes,
                devices[use.device].free_ram_bytes,
                use.flash_bytes,
                devices[use.device].free_flash_bytes,
                use.busy_ns / 1e6,
            )
            for use in figures.uses
        ),
    )


def _segment_documents(plan: Plan) -> list[SegmentDocument]:
    found = []
    for number, (stage_number, share_number) in enumerate(stage_of_segments(plan.stages)):
        stage = plan.stages[stage_number]
        share = stage.shares[share_number]
        found.append(
            SegmentDocument(
                stage_number,
                stage.first,
                stage.last,
                stage.kind.value,
                share.start,
                share.stop,
                plan.placement[number],
                plan.standby.get(number, ""),
            )
        )
    return found
