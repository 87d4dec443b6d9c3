"""Plans against every chain there is, within memory, the same every time; and answers where there is none."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.plan_space.enumeration import optimum
from benchmarks.plan_space.instance import cost, planned, random_setting

from fita.base.errors import ConfigurationError
from fita.base.resource import resource_folder
from fita.tinyml.errors import NoPlanError
from fita.tinyml.execute import run_graph
from fita.tinyml.generate import ModelSize, random_inputs, random_model
from fita.tinyml.graph import Graph
from fita.tinyml.pack.packer import pack_segment
from fita.tinyml.plan.cost import evaluate, feasible
from fita.tinyml.plan.device import NATIVE, DeviceModel, parse_devices, speed_table
from fita.tinyml.plan.link import IEEE_802_15_4, LINKS, WIFI, Link, link_named
from fita.tinyml.plan.plan import document_of
from fita.tinyml.plan.planner import plan_model
from fita.tinyml.plan.search.chain import Objective, SearchLimits
from fita.tinyml.reader import read_model
from fita.tinyml.split.execute import run_split
from fita.tinyml.split.stage import StageKind


def own(name: str) -> Graph:
    return read_model((resource_folder("models") / f"{name}.tflite").read_bytes(), name=name)


@pytest.mark.parametrize("seed", range(1, 33))
def test_no_chain_is_better_than_a_proven_plan(seed: int) -> None:
    setting = random_setting(seed, operators=3 + seed % 3, devices=3, kinds=1 + seed % 2)
    objective = list(Objective)[seed % 4]
    plan = planned(setting, objective)
    least = optimum(plan.setting if plan else setting, objective)
    if plan is None:
        assert least is None
        return
    assert least is not None
    found = cost(objective, plan.figures)
    assert plan.is_exact or not plan.is_chain
    assert found == least if plan.is_exact else found < least


SLOW_SWITCH = Link(name="switch", bandwidth_bytes_per_s=50_000, latency_s=0.001, shared=False, message_s=0.002)


@pytest.mark.parametrize("seed", range(40, 72))
def test_proofs_hold_wherever_inputs_are_born_and_results_are_wanted(seed: int) -> None:
    """Over slow links too, where ports and messages decide rather than devices."""
    plain = random_setting(seed, operators=2 + seed % 3, devices=3, kinds=1 + seed % 2)
    ends = ["", *(device.name for device in plain.devices)]
    setting = replace(
        plain,
        link=(SLOW_SWITCH, plain.link, replace(SLOW_SWITCH, shared=True, order_s=0.003))[seed % 3],
        input_at=ends[seed % 4],
        result_at=ends[seed // 4 % 4],
    )
    objective = Objective.THROUGHPUT if seed % 2 else list(Objective)[seed // 2 % 4]
    limits = SearchLimits(evaluations=(1000, 3)[seed % 5 == 0])
    plan = planned(setting, objective, limits)
    least = optimum(plan.setting if plan else setting, objective)
    if plan is None:
        assert least is None
        return
    found = cost(objective, plan.figures)
    assert least is None or found <= least or not plan.is_exact
    if plan.gap is not None and least is not None:
        assert (1.0 - plan.gap) * found <= least + 1


def test_twins_of_whom_one_holds_the_input_can_share() -> None:
    """Thirteen groups: too many for all chains to be tried, and not all devices are alone of their kind."""
    graph = read_model(random_model(7, ModelSize(operators=8, side=12, channels=12)))
    slow = [
        DeviceModel(name=f"slow{number}", ram_bytes=1 << 20, ns_per_unit=speed_table(9000.0 + number))
        for number in range(11)
    ]
    twins = [DeviceModel(name=name, ram_bytes=1 << 20) for name in ("held", "twin")]
    plan = plan_model(graph, [*twins, *slow], LINKS["ethernet"], Objective.LATENCY, limits=SearchLimits(moves=0))
    assert not plan.is_exact


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("link", [WIFI, IEEE_802_15_4])
def test_a_plan_keeps_to_memory_and_its_split_computes_the_same(objective: Objective, link: object) -> None:
    graph = own("pedestrians")
    devices = parse_devices("512k,256k,128k*4")
    plan = plan_model(graph, devices, LINKS[getattr(link, "name", "")], objective)
    assert feasible(plan.setting.by_name, plan.figures)
    packed = [pack_segment(plan.split, segment).file for segment in plan.split.segments]
    for device in devices:
        heap = sum(packed[number].heap_bytes for number in plan.segments_of(device.name))
        assert heap <= device.free_ram_bytes
        planned_bytes = sum(use.ram_bytes for use in plan.figures.uses if use.device == device.name)
        assert heap <= planned_bytes
    inputs = random_inputs(graph, 1)
    for found, wanted in zip(run_split(plan.split, inputs), run_graph(graph, inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_same_question_has_the_same_answer() -> None:
    graph, devices = own("digits_residual"), parse_devices("96k,64k*3,48k*2")
    answers = {
        repr((plan.stages, plan.placement, plan.figures))
        for plan in (plan_model(graph, devices, WIFI, objective) for objective in [Objective.LATENCY] * 3)
    }
    assert len(answers) == 1


def test_figures_of_a_plan_are_those_of_its_placement() -> None:
    plan = plan_model(own("digits"), parse_devices("64k*4"), WIFI, Objective.THROUGHPUT)
    assert plan.figures == evaluate(plan.setting, plan.stages, plan.placement)
    assert document_of(plan).frames_per_s == plan.figures.frames_per_s


def test_copies_share_the_frames() -> None:
    graph = own("digits")
    one = plan_model(graph, parse_devices("128k"), WIFI, Objective.THROUGHPUT)
    six = plan_model(graph, parse_devices("128k*6"), WIFI, Objective.THROUGHPUT)
    assert six.figures.frames_per_s > 5.5 * one.figures.frames_per_s


def test_two_devices_share_the_front_and_one_goes_on() -> None:
    graph = own("digits_residual")
    one = plan_model(graph, parse_devices("256k"))
    two = plan_model(graph, parse_devices("256k*2"))
    assert two.figures.latency_ns < 0.8 * one.figures.latency_ns
    assert not two.is_chain
    assert not two.is_exact
    assert feasible(two.setting.by_name, two.figures)
    inputs = random_inputs(graph, 2)
    np.testing.assert_array_equal(run_split(two.split, inputs)[0], run_graph(graph, inputs)[0])


def test_fewest_devices_are_fewest() -> None:
    plan = plan_model(own("pedestrians"), parse_devices("512k,256k,128k*4"), WIFI, Objective.DEVICES)
    assert plan.figures.device_count == 2


def test_an_operator_that_fits_no_device_is_shared_out() -> None:
    graph = own("pedestrians")
    largest = max(operator.weight_bytes for operator in graph.operators)
    devices = parse_devices("156k*10")
    assert largest > max(device.free_ram_bytes for device in devices)
    plan = plan_model(graph, devices, WIFI, Objective.DEVICES)
    assert any(stage.kind is not StageKind.WHOLE for stage in plan.stages)


@pytest.mark.parametrize("objective", list(Objective))
def test_devices_all_unlike_take_unlike_shares_where_nothing_else_fits(objective: Objective) -> None:
    graph = own("pedestrians")
    largest = max(operator.weight_bytes for operator in graph.operators)
    devices = parse_devices(",".join(f"{size}k" for size in range(160, 151, -1)))
    assert largest > max(device.free_ram_bytes for device in devices)
    plan = plan_model(graph, devices, WIFI, objective)
    assert any(len(stage.shares) > 1 for stage in plan.stages)
    assert feasible(plan.setting.by_name, plan.figures)
    assert (plan.is_exact, plan.gap) == (False, None)
    inputs = random_inputs(graph, 3)
    np.testing.assert_array_equal(run_split(plan.split, inputs)[0], run_graph(graph, inputs)[0])


def test_a_server_takes_everything_when_the_link_allows() -> None:
    plan = plan_model(own("pedestrians"), parse_devices("256k,gate=1G@edge"), LINKS["ethernet"], Objective.LATENCY)
    assert plan.devices_used == ("gate",)


def test_flash_and_ram_are_limits_of_their_own() -> None:
    graph = own("digits_residual")
    with pytest.raises(NoPlanError) as caught:
        plan_model(graph, [DeviceModel(name="a", ram_bytes=512 * 1024, flash_bytes=64 * 1024)])
    assert caught.value.limit == "flash"
    assert 0 < caught.value.missing_bytes < 32 * 1024
    with pytest.raises(NoPlanError) as caught:
        plan_model(graph, [DeviceModel(name="a", ram_bytes=36 * 1024, flash_bytes=1024 * 1024)])
    assert caught.value.limit == "ram"
    assert "ADD (operator 3" in caught.value.place


@pytest.mark.parametrize("text", ["256k,128k", "128k*4", "160k*3,64k", "40k"])
def test_too_little_memory_says_what_would_be_enough(text: str) -> None:
    graph, devices = own("pedestrians"), parse_devices(text)
    with pytest.raises(NoPlanError) as caught:
        plan_model(graph, devices)
    assert caught.value.limit == "ram"
    assert caught.value.missing_bytes > 0
    said = re.fullmatch(
        r"enough would be (\d+) KiB more RAM in (\w+), or another device with (\d+) KiB of RAM, 32 of .*",
        caught.value.hint,
    )
    assert said is not None
    more, name, added = int(said[1]), said[2], int(said[3])
    grown = [replace(d, ram_bytes=d.ram_bytes + 1024 * more) if d.name == name else d for d in devices]
    assert plan_model(graph, grown).figures.device_count
    other = DeviceModel(name="other", ram_bytes=1024 * added, weights_in_ram=True)
    assert plan_model(graph, [*devices, other]).figures.device_count


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT])
def test_many_unlike_devices_get_a_plan_and_a_gap(objective: Objective) -> None:
    graph = own("pedestrians")
    random = np.random.default_rng(3)
    devices = [
        DeviceModel(
            name=f"n{number}",
            ram_bytes=int(random.integers(150, 400)) * 1024,
            weights_in_ram=True,
            ns_per_unit=speed_table(float(random.integers(50, 400))),
        )
        for number in range(50)
    ]
    plan = plan_model(graph, devices, WIFI, objective)
    without = plan_model(graph, devices, WIFI, objective, limits=SearchLimits(solver_s=0.0))
    assert feasible(plan.setting.by_name, plan.figures)
    assert plan.gap is not None
    # Chains with copies are not looked at here, so the bound for throughput is what all devices could do together.
    assert 0.0 <= plan.gap <= (0.05 if objective is Objective.LATENCY else 0.75)
    assert cost(objective, plan.figures) <= cost(objective, without.figures)


def test_native_kernels_are_planned_faster() -> None:
    graph = own("digits")
    viper = plan_model(graph, parse_devices("128k"))
    native = plan_model(graph, parse_devices("128k", speeds=NATIVE))
    assert native.figures.latency_ns < viper.figures.latency_ns


@pytest.mark.parametrize("text", ["", "512", "0k*0", "128k*0", "a=1G@moon", "a=1k,a=2k", "128k*999"])
def test_unusable_devices_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_devices(text)


def test_names_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="no device is called"):
        plan_model(own("digits"), parse_devices("128k"), input_at="lamp")
    with pytest.raises(ConfigurationError, match="no link"):
        link_named("string")
