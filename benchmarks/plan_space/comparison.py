"""Plans held against the cheapest chain, instance by instance, and what of that is reported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.plan_space.instance import cost, is_beyond
from benchmarks.plan_space.rule import RULES, rule_cost
from benchmarks.report import Figure
from fita.tinyml.plan.cost import Setting, feasible
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.search.chain import Objective

Ratios = dict[int, float]
"""Cost as a multiple of the cheapest chain's, by seed."""


@dataclass(slots=True)
class Comparison:
    """How the plans of one kind of instance compare. Seeds without any chain that fits count nowhere.

    Chains fall under `proven` or `open`, as the planner says, other plans under `beyond`, or `alone` where no
    chain fits. `refused` are seeds with a chain but no plan, `unheld` those whose plan has not the memory,
    `impossible` those whose plan is a chain and cheaper than the cheapest.
    """

    proven: Ratios = field(default_factory=dict)
    open: Ratios = field(default_factory=dict)
    beyond: Ratios = field(default_factory=dict)
    alone: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    unheld: list[int] = field(default_factory=list)
    impossible: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        chains = len(self.proven) + len(self.open) + len(self.impossible)
        return chains + len(self.beyond) + len(self.alone) + len(self.refused) + len(self.unheld)

    def add(self, seed: int, plan: Plan | None, least: int | None) -> None:
        if plan is None:
            if least is not None:
                self.refused.append(seed)
            return
        found = cost(plan.objective, plan.figures)
        if not feasible(plan.setting.by_name, plan.figures, plan.setting.slack_bytes):
            self.unheld.append(seed)
        elif is_beyond(plan) and least is None:
            self.alone.append(seed)
        elif is_beyond(plan) and least is not None:
            self.beyond[seed] = ratio_of(found, least)
        elif least is None or found < least:
            self.impossible.append(seed)
        else:
            (self.proven if plan.is_exact else self.open)[seed] = ratio_of(found, least)

    def figures(self, what: str) -> list[Figure]:
        """A table; what should not be is named with its seeds on standard error."""
        self._complain(what)
        within = [ratio for ratio in self.open.values() if ratio <= 1.05]
        return [
            Figure(f"{what}: all", self.count, "instances"),
            Figure(f"{what}: proven by the planner", len(self.proven), "instances"),
            Figure(f"{what}: cost / optimum where proven, worst", _worst(self.proven), "ratio", "<= 1.00"),
            Figure(f"{what}: cost / optimum where not proven, worst", _worst(self.open), "ratio", "<= 1.05"),
            Figure(f"{what}: not proven and above 1.05", len(self.open) - len(within), "instances", "0"),
            Figure(f"{what}: plans beyond these chains", len(self.beyond), "instances"),
            Figure(f"{what}: their cost / best chain, median", _median(self.beyond), "ratio"),
            Figure(f"{what}: their cost / best chain, worst", _worst(self.beyond), "ratio", "<= 1.05"),
            Figure(f"{what}: plans where no chain fits", len(self.alone), "instances"),
            Figure(f"{what}: refused though a chain fits", len(self.refused), "instances", "0"),
            Figure(f"{what}: plans without the memory", len(self.unheld), "instances", "0"),
            Figure(f"{what}: cheaper than the cheapest chain", len(self.impossible), "instances", "0"),
        ]

    def _complain(self, what: str) -> None:
        wrong = {
            "proven but not optimal": [seed for seed, ratio in self.proven.items() if ratio > 1.0],
            "not proven and above 1.05": [seed for seed, ratio in self.open.items() if ratio > 1.05],
            "beyond these chains and above 1.05": [seed for seed, ratio in self.beyond.items() if ratio > 1.05],
            "refused though a chain fits": self.refused,
            "without the memory": self.unheld,
            "cheaper than the cheapest chain": self.impossible,
        }
        for complaint, seeds in wrong.items():
            if seeds:
                print(f"{what}: {complaint}: seeds {', '.join(map(str, seeds))}", file=sys.stderr)


@dataclass(slots=True)
class RuleComparison:
    """How the simple rules compare with the cheapest chain."""

    ratios: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in RULES})
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULES, 0))

    def add(self, setting: Setting, objective: Objective, least: int) -> None:
        for name, rule in RULES.items():
            found = rule_cost(setting, objective, rule)
            if found is None:
                self.refused[name] += 1
            else:
                self.ratios[name].append(ratio_of(found, least))

    def figures(self, what: str) -> list[Figure]:
        figures = []
        for name, ratios in self.ratios.items():
            figures += [
                Figure(f"{what}: {name}: cost / optimum, median", float(np.median(ratios or [1.0])), "ratio"),
                Figure(f"{what}: {name}: cost / optimum, worst", max(ratios, default=1.0), "ratio"),
                Figure(f"{what}: {name}: finds no plan where there is one", self.refused[name], "instances"),
            ]
        return figures


Planner = Callable[[Setting, Objective], Plan | None]
Optimiser = Callable[[Setting, Objective], int | None]


def compare(
    seed: int,
    setting: Setting,
    objective: Objective,
    *,
    planners: Mapping[Planner, Comparison],
    optimum: Optimiser,
    rules: RuleComparison,
) -> None:
    """Hold the plans of some planners and what the rules find for one instance against its optimum.

    Where a planner had to leave memory for what the packer promises beyond its estimate, so must the optimum.
    """
    known: dict[int, int | None] = {}
    for planner, comparison in planners.items():
        plan = planner(setting, objective)
        asked = plan.setting if plan is not None else setting
        if asked.slack_bytes not in known:
            known[asked.slack_bytes] = optimum(asked, objective)
        comparison.add(seed, plan, known[asked.slack_bytes])
    least = known.get(0)
    if least is not None:
        rules.add(setting, objective, least)


def ratio_of(found: int, least: int) -> float:
    """Cost as a multiple of the least, which may be nothing."""
    if least == 0:
        return 1.0 if found == 0 else float("inf")
    return found / least


def _worst(ratios: Ratios) -> float:
    return max(ratios.values(), default=1.0)


def _median(ratios: Ratios) -> float:
    return float(np.median(list(ratios.values()) or [1.0]))
