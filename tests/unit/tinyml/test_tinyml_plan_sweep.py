"""What is told of shares without cutting them, against the parts that the cutter makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fita.tinyml.generate import ModelSize, random_model
from fita.tinyml.graph import Graph
from fita.tinyml.plan.cost import traffic_bytes
from fita.tinyml.plan.demand.sweep import GraphFacts, Sweep, measure_part
from fita.tinyml.plan.demand.table import DemandTable
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.link import LINKS
from fita.tinyml.plan.planner import setting_of
from fita.tinyml.plan.search.option import OptionSource
from fita.tinyml.reader import read_model
from fita.tinyml.split.cutter import Cutter
from fita.tinyml.split.partition import partition
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length

SEEDS = st.integers(min_value=0, max_value=100_000)


def drawn(seed: int) -> Graph:
    return read_model(random_model(seed, ModelSize(operators=3 + seed % 14, side=12, channels=12)))


def shared(graph: Graph, seed: int) -> Iterator[Stage]:
    """Every stage, one kind and number of shares for each."""
    kinds = (StageKind.WHOLE, StageKind.ROWS, StageKind.OUTPUT_CHANNELS)
    for last in range(1, len(graph.operators) + 1):
        for first in range(last):
            stage = Stage(first=first, last=last, kind=kinds[(seed + first + last) % 3])
            length = share_length(graph, stage)
            count = 1 if stage.kind is StageKind.WHOLE else min(length, 2 + (seed + last) % 3)
            yield Stage(first=first, last=last, kind=stage.kind, shares=even_shares(length, count))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_sweep_measures_the_parts_that_are_cut(seed: int) -> None:
    graph = drawn(seed)
    facts, cutter = GraphFacts(graph), Cutter(graph)
    for stage in shared(graph, seed):
        length = share_length(graph, stage)
        for share, part in zip(stage.shares, cutter.parts(stage), strict=True):
            found = Sweep(facts, stage.last, stage.kind, share, length).measure(stage.first)
            wanted = measure_part(part)
            assert (found.work, found.input_bytes) == (wanted.work, wanted.input_bytes)
            assert set(found.inputs) == set(wanted.inputs)
            assert set(found.outputs) == set(wanted.outputs)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, data=st.data())
def test_traffic_is_that_of_the_partition(seed: int, data: st.DataObject) -> None:
    graph = drawn(seed)
    stages: list[Stage] = []
    while not stages or stages[-1].last < len(graph.operators):
        first = stages[-1].last if stages else 0
        last = data.draw(st.integers(min_value=first + 1, max_value=len(graph.operators)))
        stages += [stage for stage in shared(graph, seed) if (stage.first, stage.last) == (first, last)]
    table = DemandTable(graph)
    demands = table.demands_of(stages)
    wanted: dict[tuple[int, int], int] = {}
    for transfer in partition(graph, stages).transfers:
        pair = (transfer.producer, transfer.consumer)
        wanted[pair] = wanted.get(pair, 0) + transfer.size_bytes
    assert traffic_bytes(graph, demands) == wanted


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_no_share_costs_less_than_its_bound(seed: int) -> None:
    graph = drawn(seed)
    link = replace(LINKS[sorted(LINKS)[seed % len(LINKS)]], message_s=seed % 3 / 1000, order_s=seed % 5 / 1000)
    devices = [DeviceModel(name=f"device{number}", ram_bytes=1 << 20) for number in range(4)]
    ends = ["", *(device.name for device in devices)]
    source = OptionSource(setting_of(graph, devices, link, input_at=ends[seed % 5], result_at=ends[seed // 5 % 5]))
    for first in range(len(graph.operators)):
        for option in source.from_cut(first):
            if option.is_priced:
                continue
            for name in ("latency_ns", "busy_ns", "energy_nj", "air_bytes", "air_ns"):
                least = source.evaluated(option, lambda each, name=name: (getattr(each.price, name),))
                assert least is not None
                assert getattr(option.price, name) <= getattr(least.price, name), (option, name)
