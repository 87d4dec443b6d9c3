"""Several models over the same devices, weighed together.

One after the other, the first model takes what the last one would have needed more. So every order is tried, as
long as there are few, and then each model is planned again with the others where they are, until none of them
gains. What is compared is the sum over the models, each by its weight. Devices run frames of all models in turn;
that they may have to wait for each other is left to the simulator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations

from fita.tinyml.errors import NoPlanError
from fita.tinyml.graph import Graph
from fita.tinyml.plan.cost import evaluate
from fita.tinyml.plan.demand.table import DemandTable
from fita.tinyml.plan.device import DeviceModel
from fita.tinyml.plan.link import Link
from fita.tinyml.plan.plan import Plan
from fita.tinyml.plan.planner import plan_model
from fita.tinyml.plan.search.chain import Objective, SearchLimits
from fita.tinyml.plan.search.team import rank

_ORDERS_MAX = 24
_ROUNDS_MAX = 4


@dataclass(frozen=True, eq=False)
class Request:
    """One of the models: how much it counts, where its inputs are born and its results wanted."""

    graph: Graph
    weight: float = 1.0
    input_at: str | None = None
    result_at: str | None = None


def plan_jointly(
    requests: Sequence[Request],
    devices: Sequence[DeviceModel],
    link: Link,
    objective: Objective = Objective.LATENCY,
    *,
    limits: SearchLimits | None = None,
) -> tuple[Plan, ...]:
    """A plan for each request, in their order, that fit together. `NoPlanError` when none was found that do."""
    joint = _Joint(requests, devices, link, objective, limits or SearchLimits())
    best: dict[int, Plan] | None = None
    refused: NoPlanError | None = None
    for order in islice(permutations(joint.by_size()), _ORDERS_MAX):
        try:
            found = joint.settle(joint.one_by_one(order))
        except NoPlanError as error:
            refused = error
            continue
        if best is None or joint.cost(found) < joint.cost(best):
            best = found
    if best is not None:
        return tuple(best[number] for number in range(len(requests)))
    if refused is None or len(requests) == 1:
        raise refused or NoPlanError("no models", limit="ram", needed_bytes=0, available_bytes=0)
    raise NoPlanError(
        f"{len(requests)} models do not fit together: {refused.message}",
        limit=refused.limit,
        needed_bytes=refused.needed_bytes,
        available_bytes=refused.available_bytes,
        place=refused.place,
        hint=refused.hint,
    )


class _Joint:
    def __init__(
        self,
        requests: Sequence[Request],
        devices: Sequence[DeviceModel],
        link: Link,
        objective: Objective,
        limits: SearchLimits,
    ) -> None:  # fmt: skip
        self._requests, self._devices, self._link = requests, devices, link
        self._objective, self._limits = objective, limits
        self._tables = {request.graph: DemandTable(request.graph) for request in requests}
        self._known: dict[tuple[Graph, str | None, str | None, tuple[tuple[int, int], ...]], Plan] = {}

    def by_size(self) -> list[int]:
        """The largest model first, equal ones by digest, so that the order of the requests does not count."""
        graphs = [request.graph for request in self._requests]
        return sorted(range(len(graphs)), key=lambda n: (-graphs[n].weight_bytes, graphs[n].digest))

    def one_by_one(self, order: Sequence[int]) -> dict[int, Plan]:
        plans: dict[int, Plan] = {}
        for number in order:
            plans[number] = self._planned(number, plans)
        return plans

    def settle(self, plans: dict[int, Plan]) -> dict[int, Plan]:
        """Each again with the others where they are, until none gains."""
        for _ in range(_ROUNDS_MAX):
            before = self.cost(plans)
            for number in sorted(plans):
                others = {other: plan for other, plan in plans.items() if other != number}
                again = self._planned(number, others)
                if self._of(number, again) < self._of(number, plans[number]):
                    plans = {**others, number: again}
            if self.cost(plans) >= before:
                break
        return plans

    def cost(self, plans: dict[int, Plan]) -> float:
        return sum(self._of(number, plan) for number, plan in plans.items())

    def _of(self, number: int, plan: Plan) -> float:
        return self._requests[number].weight * rank(self._objective, plan.figures)[0]

    def _planned(self, number: int, others: dict[int, Plan]) -> Plan:
        request = self._requests[number]
        devices = tuple(self._left(others))
        key = (
            request.graph,
            request.input_at,
            request.result_at,
            tuple((device.free_ram_bytes, device.free_flash_bytes) for device in devices),
        )
        if key not in self._known:
            self._known[key] = self._against_devices(request, devices)
        return self._known[key]

    def _against_devices(self, request: Request, devices: tuple[DeviceModel, ...]) -> Plan:
        plan = plan_model(
            request.graph,
            devices,
            self._link,
            self._objective,
            input_at=request.input_at,
            result_at=request.result_at,
            limits=self._limits,
            table=self._tables[request.graph],
        )
        setting = replace(plan.setting, devices=tuple(self._devices))
        return replace(plan, setting=setting, figures=evaluate(setting, plan.stages, plan.placement))

    def _left(self, plans: dict[int, Plan]) -> Iterator[DeviceModel]:
        """The devices with what the plans take of them reserved."""
        for device in self._devices:
            uses = [use for plan in plans.values() for use in plan.figures.uses if use.device == device.name]
            yield replace(
                device,
                reserve_ram_bytes=device.reserve_ram_bytes + sum(use.ram_bytes for use in uses),
                reserve_flash_bytes=device.reserve_flash_bytes + sum(use.flash_bytes for use in uses),
            )
