"""What follows a plan: simulation, replanning, standby, pictures."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from fita.base.resource import resource_folder
from fita.tinyml.errors import NoPlanError
from fita.tinyml.graph import Graph
from fita.tinyml.plan.cost import Setting, evaluate, feasible
from fita.tinyml.plan.device import parse_devices
from fita.tinyml.plan.joint import Request, plan_jointly
from fita.tinyml.plan.link import ETHERNET, IEEE_802_15_4, WIFI, Link
from fita.tinyml.plan.picture import draw
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.planner import plan_model, setting_of
from fita.tinyml.plan.replan import plans_for_losses, replan, with_standby
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.plan.simulate import simulate
from fita.tinyml.reader import read_model
from fita.tinyml.split.stage import Stage, StageKind, even_shares


def own(name: str) -> Graph:
    return read_model((resource_folder("models") / f"{name}.tflite").read_bytes(), name=name)


def placed(setting: Setting, stages: tuple[Stage, ...], placement: tuple[tuple[str, ...], ...]) -> Plan:
    return Plan(
        setting=setting,
        objective=Objective.LATENCY,
        stages=stages,
        placement=placement,
        figures=evaluate(setting, stages, placement),
        is_exact=False,
        gap=None,
    )


@pytest.mark.parametrize("link", [WIFI, IEEE_802_15_4, ETHERNET], ids=lambda link: link.name)
def test_a_chain_of_wholes_takes_as_long_as_the_cost_model_says(link: Link) -> None:
    setting = setting_of(own("pedestrians"), parse_devices("512k*3"), link)
    stages = (Stage(first=0, last=8), Stage(first=8, last=14), Stage(first=14, last=22))
    plan = placed(setting, stages, (("device1",), ("device2",), ("device3",)))
    assert simulate(plan).latency_ns == plan.figures.latency_ns


@pytest.mark.parametrize("link", [WIFI, IEEE_802_15_4], ids=lambda link: link.name)
def test_many_frames_pass_at_the_pace_of_the_bottleneck(link: Link) -> None:
    setting = setting_of(own("pedestrians"), parse_devices("512k*3"), link)
    stages = (Stage(first=0, last=8), Stage(first=8, last=14), Stage(first=14, last=22))
    plan = placed(setting, stages, (("device1",), ("device2",), ("device3",)))
    found = simulate(plan, frames=12)
    assert found.period_ns == pytest.approx(plan.figures.period_ns, rel=0.02)
    assert max(found.latencies_ns) > found.latency_ns


def test_copies_take_frames_in_turn() -> None:
    setting = setting_of(own("digits"), parse_devices("512k*3"), WIFI)
    plan = placed(setting, (Stage(first=0, last=8, copies=3),), (("device1", "device2", "device3"),))
    found = simulate(plan, frames=6)
    assert [run.device for run in sorted(found.runs, key=lambda run: run.frame)] == [
        "device1",
        "device2",
        "device3",
    ] * 2


def test_a_device_runs_one_segment_at_a_time_and_memory_comes_back() -> None:
    plan = plan_model(own("pedestrians"), parse_devices("512k,256k,128k*4"), WIFI, Objective.THROUGHPUT)
    found = simulate(plan, frames=8)
    for use in plan.figures.uses:
        spans = sorted((run.start_ns, run.stop_ns) for run in found.runs if run.device == use.device)
        assert all(first[1] <= second[0] for first, second in pairwise(spans))
        samples = [sample.ram_bytes for sample in found.memory if sample.device == use.device]
        assert samples[0] == use.ram_bytes
        assert min(samples) >= use.ram_bytes
    assert simulate(plan, frames=8) == found


def test_sharded_stages_are_never_slower_than_predicted_on_a_shared_medium() -> None:
    setting = setting_of(own("pedestrians"), parse_devices("512k*3"), WIFI)
    rows = Stage(first=0, last=8, kind=StageKind.ROWS, shares=even_shares(8, 2))
    plan = placed(setting, (rows, Stage(first=8, last=22)), (("device2",), ("device3",), ("device1",)))
    assert simulate(plan).latency_ns <= plan.figures.latency_ns


def test_a_loss_leaves_the_other_segments_where_they_are() -> None:
    graph = own("pedestrians")
    plan = plan_model(graph, parse_devices("512k,512k,256k"), WIFI, Objective.DEVICES)
    used = plan.devices_used
    spare = next(name for name in plan.setting.by_name if name not in used)
    answer = replan(plan, used[-1])
    assert answer.plan is not None
    assert answer.changed == (spare,) or set(answer.changed) <= set(answer.plan.devices_used)
    kept = [n for n, names in enumerate(plan.placement) if used[-1] not in names]
    if answer.plan.stages == plan.stages:
        assert all(answer.plan.placement[number] == plan.placement[number] for number in kept)
    assert used[-1] not in answer.plan.devices_used
    assert feasible(answer.plan.setting.by_name, answer.plan.figures)


def test_losing_an_unused_device_changes_nothing() -> None:
    plan = plan_model(own("digits"), parse_devices("128k*3"), WIFI, Objective.DEVICES)
    unused = next(name for name in plan.setting.by_name if name not in plan.devices_used)
    answer = replan(plan, unused)
    assert answer.moved_bytes == 0
    assert answer.plan is not None
    assert answer.plan.placement == plan.placement


def test_every_single_loss_is_answered_or_said_to_be_too_much() -> None:
    plan = plan_model(own("pedestrians"), parse_devices("512k,256k,128k*4"))
    answers = plans_for_losses(plan)
    assert set(answers) == set(plan.devices_used)
    assert answers["device1"].plan is None
    assert "RAM" in answers["device1"].reason
    assert all(answers[name].plan for name in answers if name != "device1")


def test_copies_stand_in_for_each_other() -> None:
    plan = plan_model(own("digits"), parse_devices("128k*4"), WIFI, Objective.THROUGHPUT)
    answer = replan(plan, "device2")
    assert answer.plan is not None
    assert answer.moved_bytes == 0
    assert answer.plan.figures.period_ns > plan.figures.period_ns


def test_a_standby_segment_needs_no_shipping() -> None:
    plan = with_standby(plan_model(own("digits_residual"), parse_devices("256k*2"), WIFI, Objective.DEVICES))
    (host,) = plan.devices_used
    (other,) = {"device1", "device2"} - {host}
    assert plan.standby == {0: other}
    answer = replan(plan, host)
    assert answer.plan is not None
    assert answer.plan.placement == ((other,),)
    assert answer.moved_bytes == 0


def test_standby_needs_room() -> None:
    plan = with_standby(plan_model(own("digits_residual"), parse_devices("256k,48k"), WIFI, Objective.DEVICES))
    assert plan.standby == {}


def test_the_picture_is_sound_and_shows_every_device_in_use() -> None:
    plan = plan_model(own("pedestrians"), parse_devices("512k,256k,128k*4"))
    text = draw(plan)
    root = ElementTree.fromstring(text)
    words = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert set(plan.devices_used) <= words
    assert draw(replace(plan)) == text


def test_models_planned_jointly_fit_together_in_any_order() -> None:
    devices = parse_devices("160k,128k,112k")
    requests = [Request(own("digits_residual")), Request(own("digits")), Request(own("digits_residual"))]
    plans = plan_jointly(requests, devices, WIFI)
    again = plan_jointly(list(reversed(requests)), devices, WIFI)
    for device in devices:
        used = sum(use.ram_bytes for plan in plans for use in plan.figures.uses if use.device == device.name)
        assert used <= device.free_ram_bytes
    assert [plan.setting.graph.name for plan in plans] == [request.graph.name for request in requests]
    assert sum(p.figures.latency_ns for p in plans) == sum(p.figures.latency_ns for p in again)


def test_models_that_fit_only_alone_are_refused_together() -> None:
    request = Request(own("digits_residual"))
    devices = parse_devices("144k")
    assert plan_jointly([request], devices, WIFI)
    with pytest.raises(NoPlanError, match="together"):
        plan_jointly([request, request], devices, WIFI)
