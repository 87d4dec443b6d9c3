"""The integer program against every chain, its prices against those of whole chains, and what is reported."""

from __future__ import annotations

from dataclasses import replace
from operator import le, sub

import numpy as np
import pytest
from benchmarks.plan_space.comparison import Comparison, RuleComparison, compare
from benchmarks.plan_space.enumeration import every_step, optimum
from benchmarks.plan_space.instance import (
    AMPLE,
    OBJECTIVES,
    SCARCE,
    cost,
    is_beyond,
    larger_setting,
    planned,
    random_setting,
)
from benchmarks.plan_space.program import Offer, least_chain, price_together
from benchmarks.plan_space.step import Step, StepSpace, groups_of
from msgspec import structs

from fita.tinyml.plan.cost import Setting, evaluate, feasible
from fita.tinyml.plan.link import Link
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.search.chain import Objective
from fita.tinyml.split.stage import Share, Stage, StageKind, even_shares

SLOW_SWITCH = Link(name="slow switch", bandwidth_bytes_per_s=3000, latency_s=0.001, shared=False, nj_per_byte=10)
"""Where ports and what is delivered limit the frames in a row."""


def small_setting(seed: int) -> Setting:
    setting = random_setting(
        seed, operators=3 + seed % 3, devices=3, kinds=1 + seed % 2, shares=(AMPLE, SCARCE)[seed // 7 % 2]
    )
    first, last = setting.devices[0].name, setting.devices[-1].name
    input_at, result_at = ((first, first), (first, last), (last, first), ("", ""))[seed // 5 % 4]
    link = setting.link if seed % 3 else SLOW_SWITCH
    return replace(setting, link=link, input_at=input_at, result_at=result_at)


@pytest.mark.parametrize("seed", [*range(1, 37), 146, 147, 169, 172])
def test_the_program_finds_what_trying_every_chain_finds(seed: int) -> None:
    setting, objective = small_setting(seed), OBJECTIVES[seed // 3 % 4]
    found = least_chain(setting, objective)
    assert (found.cost if found else None) == optimum(setting, objective)


def chain_of_steps(space: StepSpace, steps: dict[int, list[Step]], random: np.random.Generator) -> list[Step]:
    """A random chain, one that shares out where there is the choice; empty where the devices run out."""
    free = tuple(len(group.names) for group in space.groups)
    chain: list[Step] = []
    cut = 0
    while cut < len(space.setting.graph.operators):
        ready = [step for step in steps[cut] if all(map(le, step.needs, free))]
        if not ready:
            return []
        shared = [step for step in ready if sum(step.needs) > 1]
        chosen = shared if shared and random.random() < 0.7 else ready
        chain.append(chosen[int(random.integers(len(chosen)))])
        free, cut = tuple(map(sub, free, chain[-1].needs)), chain[-1].last
    return chain


@pytest.mark.parametrize("seed", range(2005, 2010))
def test_a_chain_costs_what_its_steps_cost_together(seed: int) -> None:
    setting, random = larger_setting(seed), np.random.default_rng(seed)
    setting = replace(setting, link=setting.link if seed % 2 else SLOW_SWITCH)
    space = StepSpace(setting, groups_of(setting))
    steps: dict[int, list[Step]] = {}
    for step in space.steps(copies=True):
        steps.setdefault(step.first, []).append(step)
    chains = [chain for _ in range(10) if (chain := chain_of_steps(space, steps, random))]
    assert chains
    for chain in chains:
        figures = evaluate(setting, *space.chain_of(chain))
        prices = price_together(setting, [Offer(step, space.price_of(step)) for step in chain])
        assert prices == (figures.latency_ns, figures.period_ns, figures.energy_nj)
        assert sum(sum(step.needs) for step in chain) == figures.device_count
        assert all(map(space.fits, chain)) == feasible(setting.by_name, figures)


@pytest.mark.parametrize(
    "setting", [small_setting(3), small_setting(5), random_setting(11, operators=5, devices=4, kinds=2)]
)
def test_steps_are_those_of_every_chain(setting: Setting) -> None:
    space = StepSpace(setting, groups_of(setting))
    group_of = {name: number for number, group in enumerate(space.groups) for name in group.names}
    named = {
        (stages, tuple(tuple(sorted(group_of[name] for name in names)) for names in hosts))
        for first in range(len(setting.graph.operators))
        for stages, hosts in every_step(setting, first, setting.devices, copies=True)
    }
    steps = list(space.steps(copies=True))
    assert {stage.kind for stages, _ in named for stage in stages} == set(StageKind)
    assert {(step.stages, step.hosts) for step in steps} == named
    assert len(steps) == len(named)


def test_nothing_is_cheapest_where_nothing_fits() -> None:
    setting = small_setting(1)
    tiny = replace(setting, devices=tuple(replace(device, ram_bytes=64) for device in setting.devices))
    assert all(least_chain(tiny, objective) is None for objective in OBJECTIVES)


def whole_plan() -> Plan:
    found = planned(random_setting(4, operators=4, devices=3, kinds=1), Objective.LATENCY)
    assert found is not None
    return found


def test_plans_are_told_apart_by_what_they_claim_and_cost() -> None:
    plan = whole_plan()
    price = cost(plan.objective, plan.figures)
    comparison = Comparison()
    comparison.add(1, replace(plan, is_exact=True), price)
    comparison.add(2, replace(plan, is_exact=True), price // 2)
    comparison.add(3, replace(plan, is_exact=False), price // 2)
    comparison.add(4, plan, price + 1)
    comparison.add(5, plan, None)
    comparison.add(6, None, price)
    comparison.add(7, None, None)
    small = replace(plan.setting, devices=tuple(replace(d, ram_bytes=64) for d in plan.setting.devices))
    comparison.add(8, replace(plan, setting=small), price)
    assert comparison.proven == {1: 1.0, 2: price / (price // 2)}
    assert list(comparison.open) == [3]
    assert (comparison.impossible, comparison.refused, comparison.unheld) == ([4, 5], [6], [8])
    assert comparison.count == 7


def test_shares_that_are_uneven_are_beyond_the_chains_held_against() -> None:
    plan = whole_plan()
    assert not is_beyond(plan)
    graph, names = plan.setting.graph, tuple(plan.setting.by_name)
    channels = graph.operators[-1].output.shape[-1]
    even = Stage(
        first=0, last=len(graph.operators), kind=StageKind.OUTPUT_CHANNELS, shares=even_shares(channels, 2)
    )
    shared = replace(plan, stages=(even,), placement=((names[0],), (names[1],)))
    assert not is_beyond(shared)
    uneven = structs.replace(even, shares=(Share(start=0, stop=1), Share(start=1, stop=channels)))
    assert is_beyond(replace(shared, stages=(uneven,)))
    assert is_beyond(replace(shared, placement=((names[0],), (names[0],))))


def test_rules_and_planners_are_held_against_one_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    plan, asked = whole_plan(), []

    def least(setting: Setting, objective: Objective) -> int:
        asked.append(setting.slack_bytes)
        return cost(objective, plan.figures) // 2

    first, second, rules = Comparison(), Comparison(), RuleComparison()
    planners = {(lambda *_: plan): first, (lambda *_: replace(plan, is_exact=True)): second}
    compare(7, plan.setting, plan.objective, planners=planners, optimum=least, rules=rules)
    assert asked == [plan.setting.slack_bytes]
    assert second.proven[7] > 1.9
    assert all(len(rules.ratios[name]) + rules.refused[name] == 1 for name in rules.ratios)
    figures = {figure.name: figure.value for figure in second.figures("some")}
    assert figures["some: cost / optimum where proven, worst"] == second.proven[7]
    assert "proven but not optimal: seeds 7" in capsys.readouterr().err
