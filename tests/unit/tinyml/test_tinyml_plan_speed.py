"""Measured speeds: the file, its errors, and what planner and simulator make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fita.base.errors import ConfigurationError
from fita.base.resource import resource_folder
from fita.tinyml.operator import OperatorClass
from fita.tinyml.plan.cost import evaluate
from fita.tinyml.plan.device import EDGE, DeviceModel, Tier, parse_devices, speed_table
from fita.tinyml.plan.link import WIFI, Link
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.planner import plan_model, setting_of
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.plan.simulate import simulate
from fita.tinyml.plan.speed import Speeds, decode_speeds, encode_speeds
from fita.tinyml.reader import read_model
from fita.tinyml.split.stage import Stage, StageKind, even_shares, share_length

ROOT = Path(__file__).parents[3]
GRAPH = read_model((resource_folder("models") / "digits.tflite").read_bytes(), "digits")
MINIMAL: dict[str, Any] = {"version": 1, "kernels": "viper", "ns_per_unit": {"conv": 250}, "operator_ns": 100_000}

numbers = st.floats(0, 1e9)
links = st.builds(
    Link,
    name=st.sampled_from(["pipe", "wire"]),
    bandwidth_bytes_per_s=st.floats(1, 1e12),
    latency_s=st.floats(0, 10),
    loss=st.floats(0, 0.9),
    shared=st.booleans(),
    nj_per_byte=numbers,
    message_s=st.floats(0, 10),
    order_s=st.floats(0, 10),
)
speeds = st.builds(
    Speeds,
    name=st.text(max_size=20),
    kernels=st.sampled_from(["viper", "native"]),
    ns_per_unit=st.fixed_dictionaries({name: st.floats(1e-6, 1e9) for name in OperatorClass}),
    operator_ns=st.integers(0, 10**9),
    segment_ns=st.integers(0, 10**9),
    link=st.none() | links,
)


@settings(max_examples=60, deadline=None)
@given(speeds=speeds)
def test_what_is_written_is_read_again(speeds: Speeds) -> None:
    assert decode_speeds(encode_speeds(speeds)) == speeds


def test_a_person_need_not_write_every_class() -> None:
    found = decode_speeds(json.dumps({**MINIMAL, "ns_per_unit": {"conv": 10, "pool": 99}}).encode())
    assert found.ns_per_unit == {**speed_table(10.0), OperatorClass.POOL: 99.0}
    assert found.link is None


def test_the_documented_file_is_one() -> None:
    page = (ROOT / "docs" / "reference" / "speeds.md").read_text(encoding="utf-8")
    found = decode_speeds(page.split("```json\n")[1].split("```")[0].encode())
    assert found.ns_per_unit[OperatorClass.OUTPUT] == 900
    assert found.link is not None
    assert found.link.name == "mesh"
    assert all(name.value in page for name in OperatorClass)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"version": "one"}, "version"),
        ({"kernels": "fast"}, "kernels"),
        ({"ns_per_unit": {"pool": 1.0}}, "no 'conv'"),
        ({"ns_per_unit": {"conv": 0}}, "no 'conv'"),
        ({"ns_per_unit": {"conv": 1, "magic": 1}}, "names 'magic', which is no class"),
        ({"ns_per_unit": {"conv": 1, "pool": -1}}, "ns_per_unit of 'pool'"),
        ({"ns_per_unit": {"conv": "quick"}}, "ns_per_unit of 'conv'"),
        ({"ns_per_unit": [1]}, "ns_per_unit"),
        ({"operator_ns": -1}, "operator_ns"),
        ({"operator_ns": None}, "operator_ns"),
        ({"speed": 3}, "speed"),
        ({"link": {"name": "pipe", "bandwidth_bytes_per_s": 0, "latency_s": 0}}, "bandwidth"),
        ({"link": {"name": "pipe", "bandwidth_bytes_per_s": 1, "latency_s": 0, "loss": 1}}, "loss"),
        ({"link": {"name": "", "bandwidth_bytes_per_s": 1, "latency_s": 0}}, "name"),
    ],
)
def test_files_that_say_no_speeds_are_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        decode_speeds(json.dumps({**MINIMAL, **change}).encode(), "mine.json")
    assert "mine.json" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"version": 1}', b'{"kernels": "viper"}'])
def test_what_is_no_speed_file_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigurationError):
        decode_speeds(content)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_speeds_or_a_named_error(content: bytes) -> None:
    try:
        decode_speeds(content)
    except ConfigurationError:
        return


def test_servers_keep_their_own_speeds() -> None:
    measured = decode_speeds(json.dumps({**MINIMAL, "segment_ns": 7}).encode())
    lamp, gate = map(measured.on, parse_devices("lamp=256k,gate=1G@edge"))
    assert (lamp.ns_per_unit, lamp.operator_ns, lamp.segment_ns) == (measured.ns_per_unit, 100_000, 7)
    assert (gate.tier, gate.ns_per_unit) == (Tier.EDGE, EDGE)


def test_what_a_segment_costs_is_in_plan_and_simulation() -> None:
    plain = DeviceModel(name="one", ram_bytes=1 << 20)
    dear = DeviceModel(name="one", ram_bytes=1 << 20, segment_ns=5_000_000)
    first, second = (plan_model(GRAPH, [device], WIFI) for device in (plain, dear))
    assert second.figures.latency_ns - first.figures.latency_ns == 5_000_000
    assert simulate(second).latency_ns - simulate(first).latency_ns == 5_000_000


def test_work_for_outputs_costs_time_but_no_multiply_accumulates() -> None:
    device = DeviceModel(name="one", ram_bytes=1, ns_per_unit={**speed_table(1.0), OperatorClass.OUTPUT: 50.0})
    units = {OperatorClass.CONV: 100, OperatorClass.OUTPUT: 4}
    assert device.compute_ns(units, 0) == 300
    assert device.energy_nj(units) == device.energy_nj({OperatorClass.CONV: 100})


def two_halves() -> Plan:
    """Rows of the convolutions on two devices, the rest on a third; messages take no time."""
    rows = Stage(first=0, last=4, kind=StageKind.ROWS)
    shares = even_shares(share_length(GRAPH, rows), 2)
    stages = (Stage(first=0, last=4, kind=StageKind.ROWS, shares=shares), Stage(first=4, last=8))
    link = Link(name="none", bandwidth_bytes_per_s=1e15, latency_s=0.0)
    setting = setting_of(GRAPH, parse_devices("1M*3"), link, input_at="", result_at="")
    placement = tuple((device.name,) for device in setting.devices)
    return Plan(
        setting=setting,
        objective=Objective.LATENCY,
        stages=stages,
        placement=placement,
        figures=evaluate(setting, stages, placement),
        is_exact=False,
        gap=None,
    )


def test_a_message_occupies_the_medium_besides_its_bytes() -> None:
    link = Link(name="wire", bandwidth_bytes_per_s=1e9, latency_s=0.0, message_s=1e-3)
    assert link.air_ns(0) == 0
    assert link.air_ns(1000) == 1_001_000
    assert link.air_ns(1000, messages=3) == 3_001_000
    assert replace(link, order_s=1e-3).air_ns(1000, orders=1) == 2_001_000
    plain = two_halves()
    dear = replace(plain, setting=replace(plain.setting, link=replace(plain.setting.link, message_s=1e-3)))
    # In, in, and as the halves run equally long: two more and the result.
    assert simulate(dear).latency_ns == pytest.approx(simulate(plain).latency_ns + 4_000_000, rel=1e-3)
    ordered = replace(plain, setting=replace(plain.setting, link=replace(plain.setting.link, order_s=1e-3)))
    # One order for each of the three.
    assert simulate(ordered).latency_ns == pytest.approx(simulate(plain).latency_ns + 3_000_000, rel=1e-3)


def test_devices_that_share_a_processor_take_turns() -> None:
    plan = two_halves()
    both, taking_turns = simulate(plan), simulate(plan, processors=1)
    took = [span.stop_ns - span.start_ns for span in sorted(both.runs, key=lambda span: span.segment)]
    assert both.latency_ns == pytest.approx(max(took[:2]) + took[2], rel=1e-3)
    assert taking_turns.latency_ns == pytest.approx(sum(took), rel=1e-3)
    assert simulate(plan, processors=2) == both


def test_frames_that_share_a_processor_all_arrive() -> None:
    plan = two_halves()
    found = simulate(plan, frames=5, processors=1)
    busy = sum(span.stop_ns - span.start_ns for span in found.runs)
    assert len(found.runs) == 15
    assert max(found.latencies_ns) == pytest.approx(busy, rel=1e-3)
